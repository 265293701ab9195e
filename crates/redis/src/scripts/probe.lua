-- Proves that this server takes writes, lets this client have jobs, and passes on what is published.
--
-- KEYS  a key of the prober's own; a key as jobs have, where there is nothing; and, if it is on the same server: the
--       index of jobs
-- ARGV  channel, PUBLISH or SPUBLISH, what to publish, a channel as jobs have, to which nobody listens
redis.call('SET', KEYS[1], ARGV[3], 'PX', 60000)
redis.call('GET', KEYS[2])
if KEYS[3] then
  redis.call('ZCARD', KEYS[3])
end
redis.call(ARGV[2], ARGV[4], ARGV[3])
return redis.call(ARGV[2], ARGV[1], ARGV[3])
