-- Appends lines to a job's log: spec/README.md, section 17.
--
-- KEYS  the job's hash
-- ARGV  new_epoch   hex: the epoch, if the log begins with these lines
--       max_bytes   how many bytes are kept at most
--       …           the lines
--
-- Returns {position of the last line, how many lines are no longer kept}; no element: the job is not known.

local new_epoch, max_bytes = unpack(ARGV, 1, 2)
-- What a line counts in addition to its own bytes.
local OVERHEAD = 64
local call = redis.call

local known, epoch, last, oldest, bytes = find_log(KEYS[1])
if not known then
  return {}
end
epoch = epoch or string.match(new_epoch, '^0*(.+)$')
for n = 3, #ARGV do
  last, bytes = last + 1, bytes + #ARGV[n] + OVERHEAD
  call('HSET', KEYS[1], 'l' .. last, ARGV[n])
end
while bytes > tonumber(max_bytes) and oldest <= last do
  bytes = bytes - call('HSTRLEN', KEYS[1], 'l' .. oldest) - OVERHEAD
  call('HDEL', KEYS[1], 'l' .. oldest)
  oldest = oldest + 1
end
if last == 0 then
  return {'', '0'}
end
call('HSET', KEYS[1], 'log', cmsgpack.pack(epoch, last, oldest, bytes))
return {epoch .. '-' .. last, tostring(oldest - 1)}
