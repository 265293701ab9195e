-- What report.lua does beyond the fold for an update that a legacy worker has published, or left under the status key.
-- It stands before report.lua where such an update is folded; where a reporter's is, it is left out and costs nothing.
--
-- Further answers  {'heard', state, serial}  another instance had this publish folded: what it led to
--                  {'stale'}                 publishes that came after this one were folded already; or the value is no
--                                            longer under the key
--
-- Every instance that watches a job hears its publishes in the same order, and the first one has each folded, which gives
-- it a serial. An instance knows the serial of the publish before this one: if others were folded since, this one is among
-- them, or was missed by whoever had them folded, and is stale.
--
-- `taken`, in a job's meta, lists the publishes that were folded last, oldest first: an epoch, then for each a space and
-- `serial:number:digest`. The number is that of the state that it led to, in that epoch.
local legacy = {}

local MAX_TAKEN = 32

-- An answer, if this update is not to be folded; else nil, its serial and its digest. `state_of(n)` is the state before the
-- latest n, if it is kept.
function legacy.look_up(origin, fields, after, time, taken, epoch, number, status_key, state_of)
  taken = taken or ''
  local digest = string.sub(redis.sha1hex(fields), 1, 16)
  local since = origin == 'publish' and after or -1
  local serial = tonumber(string.match(taken, ' (%d+):%d+:%x+$') or 0)
  if serial > since then
    local same_epoch = string.match(taken, '^%x+') == epoch
    for its_serial, its_number in string.gmatch(taken, ' (%d+):(%d+):' .. digest) do
      if tonumber(its_serial) > since then
        local state = same_epoch and state_of(number - tonumber(its_number))
        return {'heard', state or state_of(0), its_serial}
      end
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
  if its_epoch ~= epoch then
    -- Numbers count anew: those of the publishes before say nothing any more.
    list = string.gsub(list, ':%d+:', ':0:')
  end
  list = list .. ' ' .. string.format('%.0f:%.0f:', serial, number) .. digest
  local _, count = string.gsub(list, ' ', ' ')
  if count > MAX_TAKEN then
    list = string.sub(list, string.find(list, ' ', 2, true), -1)
  end
  return epoch .. list
end

