-- Proves that this server accepts writes, gives this client the rights that jobs need, and delivers what is published.
--
-- KEYS  a key of the caller's own; a key that looks like a job's and does not exist; and, if it is on the same server: the
--       index of jobs
-- ARGV  channel, publish   where to publish, and with which command
--       message            what to publish
--       jobs_channel       a channel that looks like a job's and has no subscribers
local channel, publish, message, jobs_channel = unpack(ARGV)
redis.call('SET', KEYS[1], message, 'PX', 60000)
redis.call('GET', KEYS[2])
if KEYS[3] then
  redis.call('ZCARD', KEYS[3])
end
redis.call(publish, jobs_channel, message)
return redis.call(publish, channel, message)
