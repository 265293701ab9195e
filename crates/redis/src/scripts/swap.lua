-- Stores a state that the caller has folded, and publishes it, if the job is still as the caller knew it. It has the same effect
-- as report.lua for an ordinary report, and costs less. crates/redis (swap.rs) says which reports are ordinary.
--
-- KEYS  status; the job's hash
-- ARGV  the arguments named below
--
-- Returns the length of the state in `next_field`, or nil if nothing was stored
local before, after, state, field, expires, valid_until, publish, channel, proof, next_field = unpack(ARGV)
-- before, after       the job's meta that the caller folded from, and the new one
-- state, field        the new state, and its field in the hash
-- expires             until when the job is known, in milliseconds by this server's clock
-- valid_until         until when the caller's knowledge is valid, likewise: the server's identity, and the job
-- publish, channel    with which command to publish the state, and where
-- proof               the state's proof
-- next_field          the field that the state after this one overwrites
local call = redis.call
local time = call('TIME')
if time[1] * 1000 + time[2] / 1000 > tonumber(valid_until) or call('HGET', KEYS[2], 'meta') ~= before then
  return false
end
-- The first write has to be one that a server without memory refuses.
call('SET', KEYS[1], state, 'PXAT', expires)
call('HSET', KEYS[2], field, state, 'meta', after)
call(publish, channel, string.sub(state, 1, -2) .. ',"proof":"' .. proof .. '"}')
return call('HSTRLEN', KEYS[2], next_field)
