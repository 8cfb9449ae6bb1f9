-- The totals and the places of admission, counted again from the episodes.
local function episode_ids() return call('ZRANGE', key('episodes'), 0, -1) end

local function adder(counts)
  return function(field, by) counts[field] = (counts[field] or 0) + number(by) end
end

-- What the header of an episode adds to the totals.
local function add_episode(add, id)
  local status, reason, sampled, delivered, earned, place = unpack(call('HMGET', episode_key(id),
    'status', 'reason', 'output_tokens', 'delivered_tokens', 'reward_sum', 'place'))
  local disposition = status == 'discarded' and reason or status
  add('opened', 1)
  add(disposition or 'failed', 1)
  if ENDED[status] then
    add('tokens ' .. disposition, sampled)
    add('delivered_tokens', delivered)
  end
  if earned then
    add('reward_sum', earned)
    add('reward_count', 1)
  end
  if place then add('reserved', 1) end
  return place
end

-- The places that a group keeps for members that have not opened.
local function add_group_places(group, add, hold_place)
  local ahead, holder = unpack(call('HMGET', group_key(group), 'ahead', 'key'))
  if number(ahead) == 0 then return end
  add('reserved', ahead)
  hold_place(holder or '', ahead)
end

-- The totals of the episodes that are there, and how many places each holder has.
local function counted()
  local counts, holders, groups = {}, {}, {}
  local add, hold_place = adder(counts), adder(holders)
  for _, id in ipairs(episode_ids()) do
    local place = add_episode(add, id)
    if place then hold_place(place, 1) end
    groups[call('HGET', episode_key(id), 'group') or ''] = true
  end
  groups[''] = nil
  for group in pairs(groups) do
    add_group_places(group, add, hold_place)
  end
  return counts, holders, groups
end

local function is_field(name) return name:match('^[%l_ ]+$') end

-- Whether a field counts all episodes that ever were, and not only those that are there.
local function is_lasting(field)
  return is_field(field) and not LIVE[field] and field ~= 'reserved' and field ~= 'settlements'
end

-- Takes an episode that has ended off the list; the totals go on counting it.
local function leave_list(id)
  local counts, is_in = {}, is_recounted(id)
  add_episode(adder(counts), id)
  for field, by in pairs(counts) do
    if is_lasting(field) then call('HINCRBYFLOAT', key('forgotten'), field, string.format('%.17g', by)) end
    if is_in then call('HINCRBYFLOAT', key('recount'), field, string.format('%.17g', -by)) end
  end
  if call('HGET', key('repair'), 'cursor') == id then
    local rank = call('ZRANK', key('episodes'), id)
    local before = rank and rank > 0 and call('ZRANGE', key('episodes'), rank - 1, rank - 1)[1]
    call('HSET', key('repair'), 'cursor', before or '')
  end
  call('ZREM', key('episodes'), id)
  recounted_rank = nil
end

local function write_number(name, field, value)
  local found = tonumber(call('HGET', key(name), field))
  if found and math.abs(found - value) <= 1e-9 * math.max(1, math.abs(value)) then return end
  call('HSET', key(name), field, string.format('%.17g', value))
end

-- What the totals have of episodes whose headers are gone, so that either of the two can be derived from the other.
local function write_forgotten(counts)
  local totals = call('HGETALL', key('totals'))
  call('HSET', key('forgotten'), 'opened', 0)
  for index = 1, #totals, 2 do
    local field = totals[index]
    if is_lasting(field) then
      write_number('forgotten', field, number(totals[index + 1]) - (counts[field] or 0))
    end
  end
end

local function write_totals(counts)
  if call('EXISTS', key('forgotten')) == 0 then call('HSET', key('forgotten'), 'opened', 0) end
  local add, forgotten = adder(counts), call('HGETALL', key('forgotten'))
  for index = 1, #forgotten, 2 do
    if is_field(forgotten[index]) then add(forgotten[index], forgotten[index + 1]) end
  end
  for status in pairs(LIVE) do add(status, 0) end
  add('reserved', 0)
  local totals = call('HGETALL', key('totals'))
  for index = 1, #totals, 2 do
    local field = totals[index]
    if not tonumber(totals[index + 1]) or not is_field(field) then
      call('HDEL', key('totals'), field)
    elseif field ~= 'settlements' then
      add(field, 0)
    end
  end
  for field, value in pairs(counts) do write_number('totals', field, value) end
  if not call('HGET', key('totals'), 'settlements') then call('HSET', key('totals'), 'settlements', now) end
end

local function write_holders(holders)
  call('HLEN', key('holders'))  -- garbage is moved aside, and not deleted
  call('DEL', key('holders'))
  for holder, places in pairs(holders) do call('HSET', key('holders'), holder, places) end
end
