-- Finds the jobs that are due for clock.lua, or whose children are due to be shown.
--
-- KEYS  clocks, or parents
-- ARGV  most    how many jobs at most
--       again   if not empty: after how many milliseconds they are due again, so that other callers do not receive the same jobs.
--               A fraction makes their score one that no report writes
--
-- Returns the time in milliseconds, then the jobs.
local most, again = unpack(ARGV)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local now = tostring(now_ms)
local jobs = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, most)
if again ~= '' then
  for _, job in ipairs(jobs) do
    redis.call('ZADD', KEYS[1], tostring(now_ms + again), job)
  end
end
table.insert(jobs, 1, now)
return jobs
