-- Ends the session's episode, with a reward of 0 if it has turns and none.
local function end_session(current)
  local status, begun, rewards = unpack(call('HMGET', episode_key(current), 'status', 'begun', 'rewards'))
  if status == 'open' then
    if number(begun) > 0 and number(rewards) == 0 then
      record({id = current, field = '*|reward', turn = '', name = 'reward', value = '0', retry_key = ''})
    end
    seal(current, 'succeeded', 0)
  end
end
