-- Opens an episode that does not exist. Returns an error reply if it is refused, otherwise nothing and its history policy.
-- Its 13 arguments, from the place `first` on: id, group or '', group size or 0, task, reward deadline in ms or '', kind, metadata, key, history or '',
--              1 if the caller names the episode or the group, most members of a group without a size,
--              most open episodes of the key or 0, 0 if the project is served and never trained

-- How long a refused caller waits, in seconds. Places become free once per step. A long wait delays the next batch and a
-- short one costs calls, so it is a tenth of the time between two steps, from 1 to 5 seconds.
local function backlog_wait()
  local step = number(call('HGET', key('training'), 'step_seconds'))
  return string.format('%.3f', math.min(math.max(step / 10, 1), 5))
end

-- The group of an episode that names none. It is a digest, so that neither another episode nor a named group has it by accident;
-- one that a caller named in advance is passed over.
local function own_group(id)
  local digest, group = id, nil
  repeat
    digest = redis.sha1hex(digest)
    group = 'grp_' .. digest:sub(1, 24)
  until call('EXISTS', group_key(group)) == 0
  return group
end

local function add_group(group, size, deadline, opened)
  call('HSET', group_key(group), 'status', 'open', 'size', size, 'opened', opened, 'rewarded', '0',
    'discarded', '0', 'deliveries', '0', 'owner', '', 'placed', '0',
    'deadline', deadline == '' and reward_deadline_ms or deadline)
end

-- While synchronous training makes the next policy, places become free within seconds.
local SWAP_WAIT = '1.000'

-- A new group has places for its members, at most the share of its key, or is refused.
local function admit(group, size, deadline, owner_key)
  local granted, used_up = grant(owner_key, math.max(size, 1))
  if call('HGET', key('training'), 'closed') == '1' then return refuse('Backlogged', SWAP_WAIT, 'policy') end
  if granted == 0 then return refuse('Backlogged', backlog_wait(), used_up or 'project') end
  add_group(group, size, deadline, 0)
  reserve(group, owner_key, granted)
end

local function enter(group, size, most)
  local status, known, opened = unpack(call('HMGET', group_key(group), 'status', 'size', 'opened'))
  known, opened = number(known), number(opened)
  if status ~= 'open' or opened >= (known > 0 and known or most) then
    return refuse('GroupClosed', group)
  end
  if known == 0 and size > 0 then
    call('HSET', group_key(group), 'size', math.max(size, opened + 1))
  end
  call('HINCRBY', group_key(group), 'opened', 1)
end

-- A member gets a place that its group kept for it, or another one; without room it lives without.
local function find_place(id, group)
  if unreserve(group, 1) then place(id) end
  keep_place(id)
end

-- `begun` is 1 if it is opened by its first turn.
local function open_episode(first, begun)
  local id, group, size, task, deadline, kind, metadata, owner_key, history, named, most =
    unpack(args, first, first + 10)
  local most_open, is_trained = tonumber(args[first + 11]), args[first + 12] == '1'
  if most_open > 0 and num_open(owner_key) >= most_open then
    return refuse('TooManyOpenEpisodes', most_open)
  end
  size = tonumber(size)
  local is_named = named == '1'
  if history == '' then history = call('GET', key('history')) or 'sticky' end
  if kind == 'side' then
    group = ''
  else
    local is_own, refusal = group == '', nil
    if is_own then group, size = own_group(id), math.max(size, 1) end
    if is_own and not is_named then
      add_group(group, size, deadline, 1)
    else
      if is_own or call('EXISTS', group_key(group)) == 0 then
        if is_named then
          refusal = admit(group, size, deadline, owner_key)
        else
          add_group(group, size, deadline, 0)
        end
      end
      refusal = refusal or enter(group, size, tonumber(most))
    end
    if refusal then return refusal end
    call('ZADD', group_key(group, '.members'), ARGV[1], id)
  end
  -- In the order in which they are asked for most, because Redis searches a small hash from its first field. Zeros are texts:
  -- Redis formats each number of Lua's as a float, which takes longer than it takes to store it.
  call('HSET', episode_key(id), 'status', 'open', 'kind', kind, 'begun', begun, 'turns', '0', 'trainable_turns', '0',
    'trainable_tokens', '0', 'output_tokens', '0', 'reply_bytes', '0', 'committed', '0', 'created', ARGV[1],
    'history', history, 'id', id, 'group', group, 'task', task, 'key', owner_key, 'metadata', metadata, 'rewards', '0',
    'group_size', size)
  call('ZADD', key('episodes'), ARGV[1], id)
  call('DEL', opening_key(id))
  recounted_rank = nil
  if most_open > 0 then list_open(id, owner_key) end
  if not is_trained then call('HSET', episode_key(id), 'untrained', 1) end
  if group ~= '' and is_named then find_place(id, group) end
  call('ZADD', key('idle'), now + idle_ms, id)
  arm(now + idle_ms)
  count('opened', 1, id)
  count('open', 1, id)
  return nil, history
end
