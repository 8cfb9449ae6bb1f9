-- What refuses rewards, before any is recorded. args: as rewards.lua
local rewards = {}
for index = 1, #args, 7 do
  local id, field, turn, name, value, retry_key, complete = unpack(args, index, index + 6)
  rewards[#rewards + 1] = {id = id, field = field, turn = turn, name = name, value = value,
                           retry_key = retry_key, complete = complete == '1'}
end

local function refusal_of(reward)
  local id = reward.id
  local status, reason = unpack(call('HMGET', episode_key(id), 'status', 'reason'))
  if not status then return refuse('NoSuchEpisode', id) end
  local answer, mismatch = recorded(reward)
  if answer or mismatch then return mismatch end
  if status == 'claimed' then return refuse('EpisodeClaimed', id) end
  if status == 'trained' then return refuse('EpisodeSettled', id, status) end
  -- A held-out episode with turns is discarded when it is sealed, and may still be rewarded until its data is deleted.
  local is_evaluated = reason == 'evaluated' and call('EXISTS', episode_key(id, '.turns')) == 1
  if status == 'discarded' and not is_evaluated then return refuse('EpisodeSettled', id, reason) end
  local turn = reward.turn
  if turn ~= '' and call('HGET', key('turns'), turn) ~= id then return refuse('NoSuchTurn', turn) end
end

-- A key that is used twice in this call must be of one reward.
local function repeated_key()
  local known = {}
  for _, reward in ipairs(rewards) do
    local place = reward.id .. '\31' .. reward.retry_key
    local content = reward.field .. '\31' .. reward.value
    if reward.retry_key ~= '' and (known[place] or content) ~= content then
      return refuse('RetryMismatch', reward.retry_key)
    end
    known[place] = content
  end
end

local function refusal_of_any()
  local refusal = repeated_key()
  if refusal then return refusal end
  for _, reward in ipairs(rewards) do
    refusal = refusal_of(reward)
    if refusal then return refusal end
  end
end
