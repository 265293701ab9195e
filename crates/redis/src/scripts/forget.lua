-- Forgets a job, and publishes that it is forgotten.
--
-- KEYS  status; the job's hash; and, where they are on the same server: begun, expires (the index of jobs)
-- ARGV  channel, PUBLISH or SPUBLISH, job
--
-- Returns how many of the job's keys existed.
local known = redis.call('DEL', KEYS[1], KEYS[2])
redis.call('DEL', children_keys(KEYS[2]))
if KEYS[3] then
  redis.call('ZREM', KEYS[3], ARGV[3])
  redis.call('ZREM', KEYS[4], ARGV[3])
end
if known > 0 then
  redis.call(ARGV[2], ARGV[1], '{"type":"forgotten","job_id":"' .. ARGV[3] .. '"}')
end
return known
