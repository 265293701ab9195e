-- Which jobs are due for clock.lua.
--
-- KEYS  clocks
-- ARGV  at most so many
--
-- Answers the time in milliseconds, then the jobs.
local time = redis.call('TIME')
local now = tostring(time[1] * 1000 + math.floor(time[2] / 1000))
local jobs = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
table.insert(jobs, 1, now)
return jobs
