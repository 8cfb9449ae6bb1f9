-- rewards: record or amend rewards, all or none; then seal the episodes whose `complete` is 1. Returns {time, amended} of each.
-- args: episode, field, turn or '', name, value, idempotency key or '', complete 0 or 1, then those of the next reward
-- needs: keys, open_episodes, alarm, places, episode, group, running, sealing, rewarding, reward_checks
local refusal = refusal_of_any()
if refusal then return refusal end
local answers = {}
for index, reward in ipairs(rewards) do answers[index] = record(reward) end
for _, reward in ipairs(rewards) do
  if reward.complete and call('HGET', episode_key(reward.id), 'status') == 'open' then
    seal(reward.id, 'succeeded', 0)
  end
end
return answers
