-- Writes when jobs are to be checked next, in a Cluster, where clock.lua cannot.
--
-- KEYS  clocks
-- ARGV  given_score   the score that due.lua gave the jobs
--       …             for each job, its id and the time of its next check, or '' if there is none
local given_score = unpack(ARGV, 1, 1)
-- A job with another score was reported since: that score is the right one.
local untouched = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], given_score, given_score)) do
  untouched[job] = true
end
for at = 2, #ARGV, 2 do
  local job, next_check = ARGV[at], ARGV[at + 1]
  if untouched[job] and next_check ~= '' then
    redis.call('ZADD', KEYS[1], next_check, job)
  elseif untouched[job] then
    redis.call('ZREM', KEYS[1], job)
  end
end
return 1
