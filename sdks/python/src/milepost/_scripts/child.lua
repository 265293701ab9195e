-- Records the summary of a child in its parent's keys: spec/README.md, sections 14 and 18. Only a newer summary replaces the
-- recorded one, so the script may run any number of times, in any order.
--
-- KEYS  the parent's hash; and, unless this is a Cluster: parents (the jobs whose children changed, by the time to show it)
-- ARGV  the arguments named below
--
-- Returns when the parent has to show its children, in milliseconds, or 0 if nothing changed.
local parent, child, status, progress, weight, attempt, epoch, number, keep, max_children, interval = unpack(ARGV)
-- parent, child                 their ids
-- status                        that of the child's state, `lost`, `forgotten` if the job is no longer known, or `gone` if it has
--                               another parent now
-- progress, weight, attempt, epoch, number
--                               of the child's state; empty if it is forgotten or gone
-- keep                          how long the children are kept, in milliseconds
-- max_children                  how many children are counted at most
-- interval                      how long after a change the parent shows it, in milliseconds
local STATUSES = {queued = QUEUED, processing = PROCESSING, completed = COMPLETED, failed = FAILED, cancelled = CANCELLED,
  lost = LOST}
local call = redis.call
local children_key, open_key = children_keys(KEYS[1])
local time = call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local totals = parse_totals(call('HGET', children_key, 'totals'))
local field = 'c' .. child

-- A child is a list: the total in which it counts, attempt, epoch, number, weight, progress.
local packed = call('HGET', children_key, field)
local known = packed and {cmsgpack.unpack(packed)}
local next_one
if status == 'gone' then
  next_one = nil
elseif status == 'forgotten' then
  if not known then
    return '0'
  end
  next_one = {unpack(known)}
  if known[1] == QUEUED or known[1] == PROCESSING then
    next_one[1] = LOST
  end
else
  next_one = {STATUSES[status], tonumber(attempt), epoch, tonumber(number), tonumber(weight), tonumber(progress)}
  if known and not (next_one[2] > known[2]
    or next_one[2] == known[2] and (epoch ~= known[3] or next_one[4] > known[4])) then
    next_one = known
  end
end

local before = pack_totals(totals)
if known and next_one ~= known then
  totals[known[1]] = totals[known[1]] - 1
  totals[WEIGHT] = totals[WEIGHT] - known[5]
  totals[DONE] = totals[DONE] - known[5] * known[6]
end
local is_counted = next_one ~= nil
if not known and next_one then
  local count = 0
  for status_of = QUEUED, LOST do
    count = count + totals[status_of]
  end
  if count >= tonumber(max_children) then
    totals[INCOMPLETE], is_counted = true, false
  end
end
if next_one and is_counted and next_one ~= known then
  totals[next_one[1]] = totals[next_one[1]] + 1
  totals[WEIGHT] = totals[WEIGHT] + next_one[5]
  totals[DONE] = totals[DONE] + next_one[5] * next_one[6]
end
local has_changed = pack_totals(totals) ~= before
totals[CHANGED] = totals[CHANGED] or has_changed
local is_due = now_ms + keep > totals[EXPIRES]
if is_due then
  totals[EXPIRES] = now_ms + math.floor(keep * 1.25)
end

if next_one and is_counted then
  call('HSET', children_key, 'totals', pack_totals(totals), field, cmsgpack.pack(unpack(next_one)))
else
  call('HSET', children_key, 'totals', pack_totals(totals))
  if known then
    call('HDEL', children_key, field)
  end
end
local is_open = next_one and is_counted and (next_one[1] == QUEUED or next_one[1] == PROCESSING or next_one[1] == LOST)
-- The first open child creates the set, which then has no expiry yet.
local is_added = false
if is_open and status ~= 'forgotten' then
  is_added = call('ZADD', open_key, tostring(now_ms), child) == 1
else
  call('ZREM', open_key, child)
end
if is_due then
  call('PEXPIREAT', children_key, tostring(totals[EXPIRES]))
end
if is_due or is_added then
  call('PEXPIREAT', open_key, tostring(totals[EXPIRES]))
end
if not totals[CHANGED] then
  return '0'
end
-- Also if this summary was recorded before: the earlier caller may have failed before it added the parent to the list.
local at = tostring(now_ms + interval)
if KEYS[2] then
  call('ZADD', KEYS[2], 'LT', at, parent)
end
return at
