-- A key's use per minute, in a window that slides: the last 60 slots of a minute and the one that has begun, so that no minute
-- has more than the limit and one has at most 1/60 less. After "An alternative approach to rate limiting" (Figma, 2017).
-- The clock is Redis's own, because those of two gateways differ.
local NUM_SLOTS = 61

local function milliseconds_now()
  local time = redis.call('TIME')  -- `call` needs a key
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function limit_key(kind, id) return key('limit.' .. kind .. ':' .. id) end

-- What is there under this name if it has the type; anything else is garbage, and counting starts anew.
local function cleaned(name, kind)
  local found = call('TYPE', name).ok
  if found ~= kind and found ~= 'none' then call('DEL', name) end
  return name
end

-- The use within the window: its sum, and {slot, count} from the oldest. Slots that left are deleted.
local function used(name, slot)
  local fields, sum, slots = call('HGETALL', cleaned(name, 'hash')), 0, {}
  for index = 1, #fields, 2 do
    local at, count = tonumber(fields[index]), tonumber(fields[index + 1])
    if at and count and at > slot - NUM_SLOTS and at <= slot then
      sum = sum + count
      slots[#slots + 1] = {at, count}
    elseif fields[index] ~= 'mean' then
      call('HDEL', name, fields[index])
    end
  end
  table.sort(slots, function(one, other) return one[1] < other[1] end)
  return sum, slots
end

-- Milliseconds until so much of the use has left the window; all of it if there is no limit to stay under.
local function until_free(at, slot_ms, slots, excess)
  local freed, last = 0, nil
  for _, each in ipairs(slots) do
    freed, last = freed + each[2], each[1]
    if excess and freed >= excess then break end
  end
  return last and math.max(1, math.ceil((last + NUM_SLOTS) * slot_ms - at)) or 0
end

local function add_use(name, slot, by, window_ms)
  call('HINCRBY', name, string.format('%d', slot), by)
  call('PEXPIRE', name, 2 * window_ms)
end
