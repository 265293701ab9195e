-- Appends lines to a job's log: spec/README.md, section 17.
--
-- KEYS  the job's hash
-- ARGV  1  hex: the epoch, if the log begins with these lines
--       2  how many bytes are kept at most
--       3  … the lines
--
-- Returns {position of the last line, how many lines are no longer kept}; no element: the job is not known.

-- What a line counts in addition to its own bytes.
local OVERHEAD = 64
local call = redis.call

local known, epoch, last, oldest, bytes = find_log(KEYS[1])
if not known then
  return {}
end
epoch = epoch or string.match(ARGV[1], '^0*(.+)$')
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
