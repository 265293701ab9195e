-- Forgets a job, and publishes that it is forgotten.
--
-- KEYS  status; the job's hash; and, where they are on the same server: begun, expires (the index of jobs)
-- ARGV  channel, publish   where to publish it, and with which command
--       job                its id
--
-- Returns how many of the job's keys existed.
local channel, publish, job = unpack(ARGV)
local known = redis.call('DEL', KEYS[1], KEYS[2])
redis.call('DEL', children_keys(KEYS[2]))
if KEYS[3] then
  redis.call('ZREM', KEYS[3], job)
  redis.call('ZREM', KEYS[4], job)
end
if known > 0 then
  redis.call(publish, channel, '{"type":"forgotten","job_id":"' .. job .. '"}')
end
return known
