-- Proves that this server takes writes and passes on what is published.
--
-- KEYS  a key of the prober's own
-- ARGV  channel, PUBLISH or SPUBLISH, what to publish
redis.call('SET', KEYS[1], ARGV[3], 'PX', 60000)
return redis.call(ARGV[2], ARGV[1], ARGV[3])
