-- Proves that this server accepts writes, gives this client the rights that jobs need, and delivers what is published.
--
-- KEYS  a key of the caller's own; a key that looks like a job's and does not exist; and, if it is on the same server: the
--       index of jobs
-- ARGV  channel, PUBLISH or SPUBLISH, the message, a channel that looks like a job's and has no subscribers
redis.call('SET', KEYS[1], ARGV[3], 'PX', 60000)
redis.call('GET', KEYS[2])
if KEYS[3] then
  redis.call('ZCARD', KEYS[3])
end
redis.call(ARGV[2], ARGV[4], ARGV[3])
return redis.call(ARGV[2], ARGV[1], ARGV[3])
