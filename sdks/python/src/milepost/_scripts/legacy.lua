-- What report.lua does beyond the fold for an update that a legacy worker has published, or left under the status key.
-- It stands before report.lua where such an update is folded; where a reporter's is, it is left out and costs nothing.
--
-- Further answers  {'folded', state, serial}  another instance had this publish folded: what it led to
--                  {'stale'}                 publishes that came after this one were folded already; or the value is no
--                                            longer under the key
--
-- Every instance that watches a job hears its publishes in the same order, and the first one has each folded, which gives
-- it a serial. An instance knows the serial of the publish before this one: if others were folded since, this one is among
-- them, or was missed by whoever had them folded, and is stale.
--
-- `taken`, in a job's meta, lists the publishes that were folded last, newest first: an epoch, then for each a space and
-- `serial:number:digest`. The number is that of the state that it led to, in that epoch.
local legacy = {}

-- Some 32 of them.
local MAX_TAKEN_BYTES = 1280

-- An answer, if this update is not to be folded; else nil, its serial and its digest. `state_of(n)` is the state before the
-- latest n, if it is kept.
function legacy.look_up(origin, fields, after, time, taken, epoch, number, status_key, state_of)
  taken = taken or ''
  local digest = string.sub(redis.sha1hex(fields), 1, 16)
  local since = origin == 'publish' and after or -1
  local serial = tonumber(string.match(taken, '^%x+ (%d+)') or 0)
  if serial > since then
    local found, its_number
    for its_serial, a_number in string.gmatch(taken, ' (%d+):(%d+):' .. digest) do
      if tonumber(its_serial) > since then
        -- Of two that are the same, the older one comes first.
        found, its_number = its_serial, a_number
      end
    end
    if found then
      local same_epoch = string.match(taken, '^%x+') == epoch
      local state = same_epoch and state_of(number - tonumber(its_number))
      return {'folded', state or state_of(0), found}
    end
    if origin == 'publish' then
      return {'stale'}
    end
  end
  if origin == 'key' and redis.call('GET', status_key) ~= after then
    return {'stale'}
  end
  -- Higher than whatever was there before the job was forgotten.
  return nil, math.max(serial + 1, time[1] * 1000000 + time[2]), digest
end

-- `taken` with one publish more.
function legacy.add(taken, serial, epoch, number, digest)
  local its_epoch, list = string.match(taken or '', '^(%x+)(.*)$')
  list = list or ''
  if its_epoch and its_epoch ~= epoch then
    -- Numbers count anew: those of the publishes before say nothing any more.
    list = string.gsub(list, ':%d+:', ':0:')
  end
  if #list > MAX_TAKEN_BYTES then
    list = string.match(list, '^(.*) ')
  end
  return epoch .. string.format(' %.0f:%.0f:', serial, number) .. digest .. list
end

