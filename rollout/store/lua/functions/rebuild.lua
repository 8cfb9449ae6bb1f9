-- Indexes and counts, derived again from the headers of the episodes and from the groups. A transition that does not name
-- this file among its needs loads it when a record is damaged, because most calls meet none.
local MOST = 1e15  -- scores are times in milliseconds, or counts
local CLAIM_MS = 60000  -- the lease of a claim that lost it; its trainer renews it

local function episode_ids() return call('ZRANGE', key('episodes'), 0, -1) end

-- Finds the episodes again by their headers' keys, if the list of them is lost.
local function find_episodes()
  local cursor, start = '0', episode_key('')
  repeat
    local found = redis.call('SCAN', cursor, 'MATCH', start .. '*', 'COUNT', 1000)
    cursor = found[1]
    for _, name in ipairs(found[2]) do
      local created = number(try('HGET', name, 'created'))
      redis.call('ZADD', key('episodes'), 'NX', created, name:sub(#start + 1))
    end
  until cursor == '0'
end

local function keep(index, member, is_wanted, score)
  local has = call('ZSCORE', key(index), member)
  if has and (tonumber(has) or MOST) >= MOST then has = nil end
  if is_wanted and not has then
    call('ZADD', key(index), score, member)
  elseif has and not is_wanted then
    call('ZREM', key(index), member)
  end
end

-- How many members have each status, the largest size that one was opened with, and how many have a place.
local function read_members(group)
  local n = {open = 0, sealed = 0, rewarded = 0, claimed = 0, trained = 0, discarded = 0}
  local all, size, placed, ids = 0, 0, 0, call('ZRANGE', group_key(group, '.members'), 0, -1)
  for _, id in ipairs(ids) do
    local status, given, place = unpack(call('HMGET', episode_key(id), 'status', 'group_size', 'place'))
    if n[status] then n[status] = n[status] + 1 end
    all, size = all + 1, math.max(size, number(given))
    if place then placed = placed + 1 end
  end
  return n, all, size, placed, ids
end

-- The status of a group by its members.
local function derived_status(n, size)
  local rewarded = n.rewarded + n.claimed
  local is_complete = size > 0 and rewarded + n.discarded + n.trained >= size
  if n.open + n.sealed > 0 or (rewarded > 0 and not is_complete) then return 'open' end
  if n.trained > 0 then return 'trained' end
  return rewarded > 0 and 'ready' or 'discarded'
end

-- Writes a group's record anew. A claim of it is lost: its trainer learns that, and it is claimed again.
local function write_group(group)
  local n, all, size, placed, ids = read_members(group)
  for _, id in ipairs(ids) do
    if call('HGET', episode_key(id), 'status') == 'claimed' then
      call('HSET', episode_key(id), 'status', 'rewarded')
    end
  end
  call('HSET', group_key(group), 'status', derived_status(n, size), 'size', size, 'opened', all,
    'rewarded', n.rewarded + n.claimed, 'discarded', n.discarded, 'deliveries', 0, 'owner', '',
    'placed', placed, 'deadline', reward_deadline_ms)
end

-- Puts a group into the indexes that its status asks for.
local function index_group(group)
  local n, all, _, _, ids = read_members(group)
  local status, ready, wait = unpack(call('HMGET', group_key(group), 'status', 'ready', 'deadline'))
  local version
  for _, id in ipairs(ids) do
    local own, into = unpack(call('HMGET', episode_key(id), 'status', 'policy_version'))
    if own == 'trained' and not call('ZSCORE', key('expiring'), id) then version = tonumber(into) end
  end
  keep('ready', group, status == 'ready', tonumber(ready) or now)
  keep('claimed', group, status == 'claimed', now + CLAIM_MS)
  keep('deadlines', group, status == 'open' and n.open < all, now + (tonumber(wait) or reward_deadline_ms))
  keep('trained', group, status == 'trained' and version, version)
  if status == 'ready' then
    call('LPUSH', key('ready_signal'), 1)
    call('LTRIM', key('ready_signal'), 0, 0)
  end
end

-- Corrects a group that its members contradict.
local function check_group(group)
  local n, all, size, placed = read_members(group)
  if all == 0 then return end
  local status, known, deliveries = unpack(call('HMGET', group_key(group), 'status', 'size', 'deliveries'))
  local live = n.open + n.sealed + n.rewarded + n.claimed
  local is_wrong = not tonumber(known) or not tonumber(deliveries) or (ENDED[status] and live > 0)
    or (status == 'claimed' and n.claimed == 0) or (status == 'ready' and n.rewarded == 0)
    or not (ENDED[status] or status == 'open' or status == 'ready' or status == 'claimed')
  if is_wrong then return write_group(group) end
  if ENDED[status] then return end
  call('HSET', group_key(group), 'opened', all, 'rewarded', n.rewarded + n.claimed,
    'discarded', n.discarded, 'placed', placed)
  if status == 'open' and tonumber(known) > 0 and n.rewarded + n.discarded >= tonumber(known) then
    call('HSET', group_key(group), 'status', n.rewarded > 0 and 'ready' or 'discarded')
  end
end

local function index_episode(id)
  local status, kind, group, trainable, place, created = unpack(call('HMGET', episode_key(id),
    'status', 'kind', 'group', 'trainable_turns', 'place', 'created'))
  if status == 'open' then keep('idle', id, true, now + idle_ms) end
  if status == 'sealed' and (kind == 'side' or number(trainable) == 0) then keep('idle', id, true, now + grace_ms) end
  if status ~= 'open' and status ~= 'sealed' then keep('idle', id, false) end
  keep('quiet', id, place and (status == 'open' or status == 'sealed'), now + idle_ms)
  if group and group ~= '' then call('ZADD', group_key(group, '.members'), 'NX', number(created), id) end
  local is_kept = status == 'trained' and call('ZSCORE', key('trained'), group)
  if ENDED[status] and not is_kept then keep('expiring', id, true, now + retention_ms) end
end

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
    local status, reserved, ahead, holder =
      unpack(call('HMGET', group_key(group), 'status', 'reserved', 'ahead', 'key'))
    add('reserved', number(ahead) + (ENDED[status] and 0 or number(reserved)))
    if number(ahead) > 0 then hold_place(holder or '', ahead) end
  end
  return counts, holders, groups
end

local function is_field(name) return name:match('^[%l_ ]+$') end

-- Whether a field counts all episodes that ever were, and not only those that are there.
local function is_lasting(field)
  return is_field(field) and not LIVE[field] and field ~= 'reserved' and field ~= 'settlements'
end

-- The totals go on counting an episode whose header is gone.
local function remember_counts(id)
  local counts = {}
  add_episode(adder(counts), id)
  for field, by in pairs(counts) do
    if is_lasting(field) then call('HINCRBYFLOAT', key('forgotten'), field, string.format('%.17g', by)) end
  end
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
  call('DEL', key('holders'))
  for holder, places in pairs(holders) do call('HSET', key('holders'), holder, places) end
end

local function write_turns()
  for _, id in ipairs(episode_ids()) do
    for _, turn in ipairs(call('LRANGE', episode_key(id, '.turn_ids'), 0, -1)) do
      call('HSET', key('turns'), turn, id)
    end
  end
end

local function requeue_settled()
  for _, id in ipairs(episode_ids()) do
    if ENDED[call('HGET', episode_key(id), 'status')] then
      call('ZADD', key('settled'), 'NX', call('HINCRBY', key('totals'), 'settlements', 1), id)
    end
  end
end

local function index_all()
  local _, _, groups = counted()
  for group in pairs(groups) do index_group(group) end
  for _, id in ipairs(episode_ids()) do index_episode(id) end
end

-- After a record of the project was moved aside: derives it again, or takes its copy.
local function rebuild(name)
  if name == 'episodes' then find_episodes()
  elseif name == 'totals' then write_totals((counted()))
  elseif name == 'forgotten' then write_forgotten((counted()))
  elseif name == 'holders' then write_holders(select(2, counted()))
  elseif name == 'turns' then write_turns()
  elseif name == 'settled' then requeue_settled()
  elseif redis.call('EXISTS', key('copy.' .. name)) == 1 then
    redis.call('COPY', key('copy.' .. name), key(name))
  else index_all() end
end

local function mend_record(name, why)
  local own = name:sub(#prefix + 1)
  local kind, id = own:match('^([^:]+):(.*)$')
  if kind == 'ep' or (kind and kind:sub(1, 3) == 'ep.') then
    local group = fail_episode(id, why)
    if group and group ~= '' then check_group(group) end
    return
  end
  set_aside(name, why)
  if kind == 'grp' then write_group(id)
  elseif kind == 'grp.members' then index_all()
  elseif not kind then rebuild(own) end
end

-- Everything at once; what is right stays as it is.
local function rebuild_all()
  local _, _, groups = counted()
  for group in pairs(groups) do check_group(group) end
  index_all()
  local counts, holders = counted()
  write_totals(counts)
  if call('EXISTS', key('holders')) == 1 then write_holders(holders) end
end
