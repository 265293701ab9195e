-- Drops expired jobs from the index of jobs.
--
-- KEYS  begun, expires
-- ARGV  most   how many jobs at most
--
-- Returns how many were dropped.
local most = unpack(ARGV)
local time = redis.call('TIME')
local jobs = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time[1] .. '000', 'LIMIT', 0, most)
if #jobs > 0 then
  redis.call('ZREM', KEYS[1], unpack(jobs))
  redis.call('ZREM', KEYS[2], unpack(jobs))
end
return #jobs
