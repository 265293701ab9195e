-- Drops from the index of jobs those whose time is over.
--
-- KEYS  begun, expires
-- ARGV  at most so many
--
-- Answers how many.
local time = redis.call('TIME')
local jobs = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', time[1] .. '000', 'LIMIT', 0, ARGV[1])
if #jobs > 0 then
  redis.call('ZREM', KEYS[1], unpack(jobs))
  redis.call('ZREM', KEYS[2], unpack(jobs))
end
return #jobs
