-- When an attempt is expected to complete, from how its progress has grown: spec/README.md, section 3. crates/protocol (pace.rs)
-- explains each number, computes the same ones to the last digit, and stores the same bytes.
--
-- The pace of an attempt is eleven doubles, big-endian: at, progress, gained, elapsed, changes, strayed, recent gain, recent
-- time, recent changes, eta, eta_high.

-- A moment, in milliseconds since 1970, as RFC 3339.
local function instant(millis)
  return moment(math.floor(millis / 1000)) .. string.format('.%03dZ', millis % 1000)
end

-- A moment as the fold writes it, in milliseconds since 1970.
local function millis_of(text)
  local year, month, day, hour, minute, second, milli = string.match(text, '^(%d+)-(%d+)-(%d+)T(%d+):(%d+):(%d+)%.(%d+)Z$')
  -- March is the first month, so that the leap day is a year's last.
  month = month - 3
  if month < 0 then
    year, month = year - 1, month + 12
  end
  local days = 365 * year + math.floor(year / 4) - math.floor(year / 100) + math.floor(year / 400)
    + math.floor((153 * month + 2) / 5) + day - 1 - 719468
  return ((days * 24 + hour) * 60 + minute) * 60000 + second * 1000 + milli
end

-- Returns the usual durations of an attempt, given those that runs.lua recorded of its name: in tenths of a second, four bytes each,
-- shortest first. Returns nil if the bytes are not valid.
local function usual_of(runs)
  local MAX_RUNS = 32
  local count = string.byte(runs, 7) or 0
  if count == 0 or count > MAX_RUNS or #runs < 7 + 4 * count then
    return nil
  end
  local tenths = {struct.unpack('>' .. string.rep('I4', count), runs, 8)}
  -- struct.unpack also returns where it stopped.
  tenths[count + 1] = nil
  table.sort(tenths)
  return struct.pack('>' .. string.rep('I4', count), unpack(tenths))
end

-- Returns `eta` and `eta_high` of an attempt that began at `started`, by the usual durations, or nil: crates/protocol (usual.rs).
local function by_usual(usual, started, now)
  local since = math.max(0, now - started)
  local function took(number)
    return 100 * struct.unpack('>I4', usual, 4 * number - 3)
  end
  -- The first that took longer than the attempt so far.
  local first, after = 1, #usual / 4 + 1
  while first < after do
    local middle = math.floor((first + after) / 2)
    if took(middle) > since then
      after = middle
    else
      first = middle + 1
    end
  end
  local count = #usual / 4 + 1 - first
  if count == 0 then
    return nil
  end
  local median = (took(first + math.floor((count - 1) / 2)) + took(first + math.floor(count / 2))) / 2
  local ninth = took(first + math.floor((9 * count + 9) / 10) - 1) * (1 + 1 / count)
  return started + median, math.floor(started + ninth + 0.5)
end

-- After how many milliseconds a step counts half as much.
local function memory_of(changes, elapsed, strayed)
  local most = math.max(30000, 0.2 * elapsed)
  if changes < 3 or elapsed <= 0 then
    return most
  end
  return math.min(most, math.max(5000, 10 * elapsed / changes, 40 * strayed / elapsed))
end

-- Returns the pace after an update at `now`, in milliseconds, and `eta` and `eta_high`, in milliseconds since 1970, and their basis, or
-- nil. `known_at` and `known_progress` are those of the previous state, if it says since when it has had its progress. `usual_eta` and
-- `usual_high` come from by_usual.
local function advance(pace, known_at, known_progress, now, progress, is_running, was_lost, usual_eta, usual_high)
  local FORMAT = '>ddddddddddd'
  local at, last, gained, elapsed, changes, strayed, recent_gain, recent_time, recent_changes, eta, eta_high
  -- Another version may have written it. Then the estimate begins anew.
  if pace and #pace ~= struct.size(FORMAT) then
    pace = nil
  end
  if pace then
    at, last, gained, elapsed, changes, strayed, recent_gain, recent_time, recent_changes, eta, eta_high
      = struct.unpack(FORMAT, pace)
  else
    at, last, gained, elapsed, changes, strayed, recent_gain, recent_time, recent_changes, eta, eta_high
      = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  end
  if not is_running then
    if not pace then
      last = progress
    end
    return struct.pack(FORMAT, 0, last, gained, elapsed, changes, strayed, recent_gain, recent_time, recent_changes, 0, 0)
  end
  if was_lost then
    at, eta, eta_high = 0, 0, 0
  elseif not pace then
    if not known_at or progress <= known_progress then
      return nil, usual_eta, usual_high, 'history'
    end
    at, last = known_at, known_progress
  end
  if progress < last then
    return nil, usual_eta, usual_high, 'history'
  end
  if at == 0 then
    at, last = now, progress
  elseif progress > last then
    local gain, time = progress - last, math.max(0, now - at)
    if recent_gain > 0 then
      local stray = time - gain * recent_time / recent_gain
      strayed = strayed + stray * stray
    end
    gained, elapsed, changes = gained + gain, elapsed + time, changes + 1
    local kept = memory_of(changes, elapsed, strayed)
    kept = kept / (kept + time)
    recent_gain, recent_time, recent_changes = recent_gain * kept + gain, recent_time * kept + time, recent_changes * kept + 1
    at, last = now, progress
  end
  local new_eta, new_high, basis
  if changes >= 3 and elapsed >= 10000 and gained >= 0.02 and last < 1 then
    local standstill = math.max(0, now - at - 2 * recent_time / recent_changes)
    local to_gain = 1 - last
    local left = to_gain * (recent_time + standstill) / recent_gain
    local overall = to_gain * (elapsed + standstill) / gained
    local high = math.max(left, overall) * (1.15 + 0.9 * to_gain)
    if high < 315360000000 then
      new_eta, new_high, basis = math.floor(at + left + 0.5), math.floor(at + high + 0.5), 'rate'
    end
  end
  if usual_eta and new_eta then
    local reached = math.max(0, last)
    local for_rate, for_usual = reached * (usual_high - usual_eta), (1 - reached) * 2 * (new_high - new_eta)
    local sum = for_rate + for_usual
    local share = sum > 0 and for_rate / sum or reached
    new_eta = math.floor(share * new_eta + (1 - share) * usual_eta + 0.5)
    new_high, basis = math.floor(share * new_high + (1 - share) * usual_high + 0.5), 'both'
  elseif usual_eta then
    new_eta, new_high, basis = usual_eta, usual_high, 'history'
  end
  if not new_eta then
    eta, eta_high = 0, 0
  elseif math.abs(new_eta - eta) > 0.1 * (eta - now) or math.abs(new_high - eta_high) > 0.1 * (eta_high - now) then
    eta, eta_high = new_eta, new_high
  end
  pace = struct.pack(FORMAT, at, last, gained, elapsed, changes, strayed, recent_gain, recent_time, recent_changes, eta, eta_high)
  if new_eta then
    return pace, eta, eta_high, basis
  end
  return pace
end

-- Returns the pace after an update, and its estimate as fields of the state, or nil. The progresses are JSON, or nil. `usual` are the
-- usual durations, or nil; `started_at` is when the attempt began, or nil; `paused_ms` is for how long it has been paused, or nil.
local function estimated(pace, known_at, known_progress, now, progress, is_running, was_lost, usual, started_at, paused_ms)
  local reached = tonumber(progress)
  local eta, eta_high, basis
  if usual and started_at and is_running and not (reached and reached >= 1) then
    eta, eta_high = by_usual(usual, millis_of(started_at) + (paused_ms or 0), now)
    basis = 'history'
  end
  if reached then
    pace, eta, eta_high, basis = advance(pace, known_at, tonumber(known_progress), now, reached, is_running, was_lost, eta, eta_high)
  else
    pace = nil
  end
  return pace, eta and ',"eta":"' .. instant(eta) .. '","eta_high":"' .. instant(eta_high) .. '","eta_basis":"' .. basis .. '"'
end

-- The state as the worker reported it (`head` in report.lua; `reported` when decoded), changed because its children have made
-- progress: not stalled, and with this estimate instead of the fold's earlier one. A worker's own estimate stays.
local function with_progress(head, reported, now, estimate)
  local start, rest = string.match(head, '^(.*,"last_seen_at":"[^"]*","progressed_at":")[^"]*"(.*)$')
  if not start then
    return head
  end
  local theirs
  rest, theirs = string.gsub(rest, '^,"eta":"[^"]*","eta_high":"[^"]*","eta_basis":"[^"]*"', '')
  if theirs == 0 and (reported.eta ~= nil or reported.eta_high ~= nil) then
    estimate = nil
  end
  return start .. now .. '"' .. (estimate or '') .. string.gsub(rest, '"health":"stalled"', '"health":"ok"', 1)
end
