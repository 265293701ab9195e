-- What report.lua does, beyond the fold, for an update that a legacy worker has published or set under the status key. It is
-- put before report.lua only where such updates are folded, so it costs reporters nothing.
--
-- Further results  {'folded', state, serial}  another instance has folded this publish; the state that it led to
--                  {'stale'}                 later publishes have been folded already; or the value is no longer under
--                                            the key
--
-- All instances that watch a job receive its publishes in the same order. The first instance to send a publish has it folded,
-- and the publish gets a serial. The caller gives the serial of the publish before this one. If others were folded since,
-- this publish is either one of them, or the instance that sent them missed it, and it is stale.
--
-- An end is different: no instance skips one. An instance that is behind skips the publishes before an end, so it may be the first to
-- send the end although others have folded publishes that it has skipped. If the end is not among those, it is new.
--
-- `taken`, in a job's meta, lists the publishes that were folded last, newest first: an epoch, then for each publish a space
-- and `serial:number:digest`. The number is that of the state that it led to, in that epoch.
local legacy = {}

-- Room for about 32 publishes.
local MAX_TAKEN_BYTES = 1280

-- Returns a result if this update must not be folded; else nil, its serial and its digest. `state_of(n)` is the state n
-- places before the latest one, if it is kept.
function legacy.look_up(origin, fields, is_end, after, time, taken, epoch, number, status_key, state_of)
  taken = taken or ''
  local digest = string.sub(redis.sha1hex(fields), 1, 16)
  local since = origin == 'publish' and after or -1
  local serial = tonumber(string.match(taken, '^%x+ (%d+)') or 0)
  if serial > since then
    local found, its_number
    for its_serial, a_number in string.gmatch(taken, ' (%d+):(%d+):' .. digest) do
      if tonumber(its_serial) > since then
        -- Of two equal publishes, this has to be the older one.
        found, its_number = its_serial, a_number
      end
    end
    if found then
      local same_epoch = string.match(taken, '^%x+') == epoch
      local state = same_epoch and state_of(number - tonumber(its_number))
      return {'folded', state or state_of(0), found}
    end
    local sees_all = string.find(taken, string.format(' %.0f:', since), 1, true)
    if origin == 'publish' and not (is_end and sees_all) then
      return {'stale'}
    end
  end
  if origin == 'key' and redis.call('GET', status_key) ~= after then
    return {'stale'}
  end
  -- Higher than any serial from before the job was forgotten.
  return nil, math.max(serial + 1, time[1] * 1000000 + time[2]), digest
end

-- Adds a publish to `taken`.
function legacy.add(taken, serial, epoch, number, digest)
  local its_epoch, list = string.match(taken or '', '^(%x+)(.*)$')
  list = list or ''
  if its_epoch and its_epoch ~= epoch then
    -- Numbers start over in a new epoch, so those of earlier publishes are meaningless now.
    list = string.gsub(list, ':%d+:', ':0:')
  end
  if #list > MAX_TAKEN_BYTES then
    list = string.match(list, '^(.*) ')
  end
  return epoch .. string.format(' %.0f:%.0f:', serial, number) .. digest .. list
end

