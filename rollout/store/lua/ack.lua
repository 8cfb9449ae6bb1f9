-- ack: mark groups as trained into a policy, which becomes the current one. Does all of it or nothing.
-- args: owner, version, path, parent, digest, created, optimizer step or '', number of groups, groups,
--       then episode, advantages, delivered tokens, why it was left out or '', ...
-- needs: keys, open_episodes, alarm, places, episode, group, policy, training
local owner, version, path, parent, digest, created, step, num_groups = unpack(args, 1, 8)
local last_group = 8 + num_groups
local lost = lost_groups(owner, version, 9, last_group)
if #lost > 0 then return refuse('ClaimLost', unpack(lost)) end
local recorded = call('HGET', key('policy'), 'version')
if recorded and parent ~= '' and recorded ~= parent and recorded ~= version then
  return refuse('LineageLeft', recorded, parent)
end
-- The groups may lie in other shards: then nothing here tells that another trainer has taken over.
local trainer = call('HGET', key('training'), 'trainer')
if tonumber(num_groups) == 0 and trainer and trainer ~= owner then return refuse('Superseded', trainer) end

train_groups(owner, version, 9, last_group)
publish_policy(version, path, parent, digest, created, step)
return 1
