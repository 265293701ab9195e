-- When an attempt is expected to complete, from how its progress has grown: spec/README.md, section 3. crates/protocol (pace.rs)
-- explains each number, computes the same ones to the last digit, and stores the same bytes.
--
-- The pace of an attempt is ten doubles, big-endian: at, progress, gained, elapsed, changes, recent gain, recent time,
-- recent changes, eta, eta_high.

-- A moment, in milliseconds since 1970, as RFC 3339.
local function instant(millis)
  return moment(math.floor(millis / 1000)) .. string.format('.%03dZ', millis % 1000)
end

-- Returns the pace after an update at `now`, in milliseconds, and `eta` and `eta_high`, in milliseconds since 1970, or nil.
-- `known_at` and `known_progress` are those of the previous state, if it says since when it has had its progress.
local function advance(pace, known_at, known_progress, now, progress, is_running, was_lost)
  local FORMAT = '>dddddddddd'
  local at, last, gained, elapsed, changes, recent_gain, recent_time, recent_changes, eta, eta_high
  if pace then
    at, last, gained, elapsed, changes, recent_gain, recent_time, recent_changes, eta, eta_high = struct.unpack(FORMAT, pace)
  else
    at, last, gained, elapsed, changes, recent_gain, recent_time, recent_changes, eta, eta_high = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
  end
  if not is_running then
    if not pace then
      last = progress
    end
    return struct.pack(FORMAT, 0, last, gained, elapsed, changes, recent_gain, recent_time, recent_changes, 0, 0)
  end
  if was_lost then
    at, eta, eta_high = 0, 0, 0
  elseif not pace then
    if not known_at or progress <= known_progress then
      return nil
    end
    at, last = known_at, known_progress
  end
  if progress < last then
    return nil
  end
  if at == 0 then
    at, last = now, progress
  elseif progress > last then
    local gain, time = progress - last, math.max(0, now - at)
    gained, elapsed, changes = gained + gain, elapsed + time, changes + 1
    local kept = math.max(30000, 0.2 * elapsed)
    kept = kept / (kept + time)
    recent_gain, recent_time, recent_changes = recent_gain * kept + gain, recent_time * kept + time, recent_changes * kept + 1
    at, last = now, progress
  end
  local new_eta, new_high
  if changes >= 3 and elapsed >= 10000 and gained >= 0.02 and last < 1 then
    local standstill = math.max(0, now - at - 2 * recent_time / recent_changes)
    local to_gain = 1 - last
    local left = to_gain * (recent_time + standstill) / recent_gain
    local overall = to_gain * (elapsed + standstill) / gained
    local high = math.max(left, overall) * (1.15 + 0.9 * to_gain)
    if high < 315360000000 then
      new_eta, new_high = math.floor(at + left + 0.5), math.floor(at + high + 0.5)
    end
  end
  if not new_eta then
    eta, eta_high = 0, 0
  elseif math.abs(new_eta - eta) > 0.1 * (eta - now) or math.abs(new_high - eta_high) > 0.1 * (eta_high - now) then
    eta, eta_high = new_eta, new_high
  end
  pace = struct.pack(FORMAT, at, last, gained, elapsed, changes, recent_gain, recent_time, recent_changes, eta, eta_high)
  if new_eta then
    return pace, eta, eta_high
  end
  return pace
end


-- Returns the pace after an update, and its estimate as fields of the state, or nil. The progresses are JSON, or nil.
local function estimated(pace, known_at, known_progress, now, progress, is_running, was_lost)
  local reached = tonumber(progress)
  if not reached then
    return nil
  end
  local eta, eta_high
  pace, eta, eta_high = advance(pace, known_at, tonumber(known_progress), now, reached, is_running, was_lost)
  return pace, eta and ',"eta":"' .. instant(eta) .. '","eta_high":"' .. instant(eta_high) .. '","eta_basis":"rate"'
end

-- The state as the worker reported it (`head` in report.lua; `reported` when decoded), changed because its children have made
-- progress: not stalled, and with this estimate instead of the fold's earlier one. A worker's own estimate stays.
local function with_progress(head, reported, now, estimate)
  local start, rest = string.match(head, '^(.*,"last_seen_at":"[^"]*","progressed_at":")[^"]*"(.*)$')
  if not start then
    return head
  end
  local theirs
  rest, theirs = string.gsub(rest, '^,"eta":"[^"]*","eta_high":"[^"]*","eta_basis":"rate"', '')
  if theirs == 0 and (reported.eta ~= nil or reported.eta_high ~= nil) then
    estimate = nil
  end
  return start .. now .. '"' .. (estimate or '') .. string.gsub(rest, '"health":"stalled"', '"health":"ok"', 1)
end
