-- settled: read episodes that the ledger has not confirmed. args: limit.
-- Returns {sequence, header, rewards} of each, and reward weights.
-- needs: keys, header
local entries = {}
local queued = call('ZRANGE', key('settled'), 0, args[1] - 1, 'WITHSCORES')
for index = 1, #queued, 2 do
  local id = queued[index]
  if call('HGET', episode_key(id), 'id') then
    entries[#entries + 1] = {
      queued[index + 1], header(id), call('HGETALL', episode_key(id, '.rewards'))}
  else
    call('ZREM', key('settled'), id)
  end
end
return {entries, call('HGETALL', key('reward_weights'))}
