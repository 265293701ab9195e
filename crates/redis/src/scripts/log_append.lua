-- Appends lines to a job's log: spec/README.md, section 17.
--
-- KEYS  the job's hash (report.lua says what else is in it). The log's lines are in the fields `l<number>`; `log` has its
--       epoch, the numbers of its last line and of the oldest one that is kept, and the bytes of those kept
-- ARGV  1  hex: the epoch of a log that begins
--       2  at most so many bytes are kept
--       3  … the lines
--
-- Answers {position of the last line, lines that are no longer kept}; no element: the job is not known.
local LAYOUT = 1
-- What a line counts beside its own bytes.
local OVERHEAD = 64
local call = redis.call

local meta = call('HGET', KEYS[1], 'meta')
local time = call('TIME')
local layout, expires
if meta then
  layout, expires = cmsgpack.unpack(meta)
end
if layout ~= LAYOUT or expires <= time[1] * 1000 + math.floor(time[2] / 1000) then
  return {}
end
local epoch, last, oldest, bytes = string.match(ARGV[1], '^0*(.+)$'), 0, 1, 0
local log = call('HGET', KEYS[1], 'log')
if log then
  epoch, last, oldest, bytes = cmsgpack.unpack(log)
end
for n = 3, #ARGV do
  last, bytes = last + 1, bytes + #ARGV[n] + OVERHEAD
  call('HSET', KEYS[1], 'l' .. last, ARGV[n])
end
while bytes > tonumber(ARGV[2]) and oldest <= last do
  bytes = bytes - call('HSTRLEN', KEYS[1], 'l' .. oldest) - OVERHEAD
  call('HDEL', KEYS[1], 'l' .. oldest)
  oldest = oldest + 1
end
if last == 0 then
  return {'', '0'}
end
call('HSET', KEYS[1], 'log', cmsgpack.pack(epoch, last, oldest, bytes))
return {epoch .. '-' .. last, tostring(oldest - 1)}
