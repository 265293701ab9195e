-- Stores a state that the caller has folded, and publishes it, if the job is still as the caller knew it. It has the same effect
-- as report.lua for an ordinary report, and costs less. crates/redis (swap.rs) says which reports are ordinary.
--
-- KEYS  status; the job's hash
-- ARGV  1  the job's meta that the caller folded from
--       2  the new meta
--       3  the new state
--       4  the state's field in the hash
--       5  until when the job is known, in milliseconds by this server's clock
--       6  until when the caller's knowledge is valid, likewise: the server's identity, and the job
--       7  PUBLISH or SPUBLISH
--       8  channel
--       9  the state's proof
--       10 the field that the state after this one overwrites
--
-- Returns the length of the last field's state, or nil if nothing was stored
local call = redis.call
local time = call('TIME')
if time[1] * 1000 + time[2] / 1000 > tonumber(ARGV[6]) or call('HGET', KEYS[2], 'meta') ~= ARGV[1] then
  return false
end
-- The first write has to be one that a server without memory refuses.
call('SET', KEYS[1], ARGV[3], 'PXAT', ARGV[5])
call('HSET', KEYS[2], ARGV[4], ARGV[3], 'meta', ARGV[2])
call(ARGV[7], ARGV[8], string.sub(ARGV[3], 1, -2) .. ',"proof":"' .. ARGV[9] .. '"}')
return call('HSTRLEN', KEYS[2], ARGV[10])
