-- Finds a job's log: spec/README.md, section 17. It is put before log_append.lua and log_read.lua.
--
-- A log is in the job's hash (report.lua describes the rest of the hash). Its lines are in the fields `l<number>`. The field
-- `log` has its epoch, the numbers of its last line and of the oldest line that is kept, and the bytes of the kept lines.
local LAYOUT = 1

-- Whether the job is known, and the log's epoch, last line, oldest line and bytes. The epoch is nil if the log has no line.
local function find_log(job_key)
  local meta, log = unpack(redis.call('HMGET', job_key, 'meta', 'log'))
  local time = redis.call('TIME')
  local layout, expires
  if meta then
    layout, expires = cmsgpack.unpack(meta)
  end
  if layout ~= LAYOUT or expires <= time[1] * 1000 + math.floor(time[2] / 1000) then
    return false
  end
  if log then
    return true, cmsgpack.unpack(log)
  end
  return true, nil, 0, 1, 0
end

