-- What the fold carries through an attempt, and what it computes: attributes, moments, and progress by stages. The rules
-- are in spec/README.md, sections 2 and 3. crates/protocol implements them in Rust, and the results are equal to the last byte.
--
-- The attributes of an attempt are one text. Each attribute is a line, `,"name":value`, in the order of the latest state. An
-- attribute that an update clears is a line without a value.

-- A moment in UTC as RFC 3339, without its fraction and zone.
local function moment(seconds)
  local days = math.floor(seconds / 86400)
  local rest = seconds - days * 86400
  -- Days since 0000-03-01, so that a leap day is the last day of its year: eras of 400 years, years, months.
  local day = days + 719468
  local era = math.floor(day / 146097)
  day = day - era * 146097
  local year = math.floor((day - math.floor(day / 1460) + math.floor(day / 36524) - math.floor(day / 146096)) / 365)
  day = day - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local month = math.floor((5 * day + 2) / 153)
  day = day - math.floor((153 * month + 2) / 5) + 1
  year = year + era * 400
  if month < 10 then
    month = month + 3
  else
    month, year = month - 9, year + 1
  end
  return string.format('%04d-%02d-%02dT%02d:%02d:%02d', year, month, day, math.floor(rest / 3600),
    math.floor(rest / 60) % 60, rest % 60)
end

-- Returns the attributes of the next state, and those among them that the update does not contain.
local function carry(known, given)
  if not given then
    return known, known
  end
  local set, ended, kept = '', {}, ''
  for name, value in string.gmatch(given, ',"([^"]+)":([^\n]*)\n') do
    ended[name] = true
    if value ~= '' then
      set = set .. ',"' .. name .. '":' .. value .. '\n'
    end
  end
  for name, value in string.gmatch(known or '', ',"([^"]+)":([^\n]*)\n') do
    if not ended[name] then
      kept = kept .. ',"' .. name .. '":' .. value .. '\n'
    end
  end
  local all = set .. kept
  return all ~= '' and all or nil, kept
end

-- The value of an attribute.
local function attribute(attributes, name)
  return attributes and string.match('\n' .. attributes, '\n,"' .. name .. '":([^\n]+)')
end

-- A computed progress, as the JSON number of the state.
local function decimals(progress)
  if progress > 0 then
    progress = math.min(progress, 1)
  else
    progress = 0
  end
  return (string.gsub(string.gsub(string.format('%.6f', progress), '0+$', ''), '%.$', '.0'))
end

-- The progress of a job that has reached this point of a declared stage, or nil. `weights` is the attribute `stage_weights`, or nil: it
-- counts if it has all declared stages, and none of them declares a weight.
local function of_stages(stages, weights, stage, stage_progress)
  local id = cjson.decode('[' .. stage .. ']')[1]
  local total, done = 0, nil
  stages, weights = cjson.decode(stages), weights and cjson.decode(weights)
  for _, declared in ipairs(weights and stages or {}) do
    local its_id, weight = declared, nil
    if type(declared) == 'table' then
      its_id, weight = declared.id, declared.weight
    end
    if type(weight) == 'number' or not weights[its_id] then
      weights = nil
      break
    end
  end
  for _, declared in ipairs(stages) do
    local its_id = type(declared) == 'table' and declared.id or declared
    local weight = weights and weights[its_id] or 1
    if type(declared) == 'table' then
      if type(declared.weight) == 'number' then
        weight = declared.weight
      end
      if declared.skipped == true then
        weight = 0
      end
    end
    if not done and its_id == id then
      done = total + weight * stage_progress
    end
    total = total + weight
  end
  return done and total > 0 and total < math.huge and decimals(done / total) or nil
end

-- Three times in milliseconds: after how long a silence a job is lost, after how long without progress it is stalled, and
-- after how long a silence it ends. nil means never.
local function patience(attributes, status)
  local heartbeat, stall_after, lost_after =
    attribute(attributes, 'heartbeat'), attribute(attributes, 'stall_after'), attribute(attributes, 'lost_after')
  local missed = heartbeat and 3000 * tonumber(heartbeat)
  return missed and math.max(missed, 30000), status == 'processing' and stall_after and 1000 * tonumber(stall_after) or nil,
    lost_after and math.max(1000 * tonumber(lost_after), missed or 0)
end

-- The next moment at which the health may become worse, or the job may end, in milliseconds since 1970, given when the job
-- last reported and last progressed.
local function next_change(health, silent, still, ending, seen, progressed)
  local at
  if silent and health ~= 'lost' then
    at = seen + silent
  end
  if still and health == 'ok' then
    at = math.min(at or math.huge, progressed + still)
  end
  if ending then
    at = math.min(at or math.huge, seen + ending)
  end
  return at and math.ceil(at)
end

