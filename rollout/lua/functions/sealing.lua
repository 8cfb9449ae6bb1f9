-- Ends an open episode: what cannot be trained is discarded, the rest waits for its reward or its group.
local function seal(id, outcome, truncated)
  local kind, group, trainable, rewards = unpack(
    call('HMGET', episode_key(id), 'kind', 'group', 'trainable_turns', 'rewards'))
  call('HSET', episode_key(id), 'sealed', now, 'outcome', outcome, 'truncated', truncated)
  if outcome == 'aborted' then
    discard(id, 'aborted')
  elseif kind == 'side' or tonumber(trainable) == 0 then
    discard(id, 'no_signal')
  else
    call('ZREM', key('idle'), id)
    move(id, 'open', 'sealed')
    if tonumber(rewards) > 0 then
      move(id, 'sealed', 'rewarded')
      call('HINCRBY', group_key(group), 'rewarded', 1)
    end
  end
  member_ended(group)
end
