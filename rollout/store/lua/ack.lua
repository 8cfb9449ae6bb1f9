-- ack: mark groups as trained into a policy, which becomes the current one. Does all of it or nothing.
-- args: owner, version, path, parent, digest, created, optimizer step or '', number of groups, groups,
--       then episode, advantages, delivered tokens, why it was left out or '', ...
-- needs: keys, open_episodes, alarm, places, episode, group, policy
local owner, version, path, parent, digest, created, step, num_groups = unpack(args, 1, 8)
local last_group = 8 + num_groups
local credits = {}
for index = last_group + 1, #args, 4 do
  credits[args[index]] = {args[index + 1], args[index + 2], args[index + 3]}
end
local lost = {}
for index = 9, last_group do
  local group = args[index]
  local is_done = call('ZSCORE', key('trained'), group) == version
  if not is_done and not holds(owner, group) then lost[#lost + 1] = group end
end
if #lost > 0 then return refuse('ClaimLost', unpack(lost)) end
local recorded = call('HGET', key('policy'), 'version')
if recorded and parent ~= '' and recorded ~= parent and recorded ~= version then
  return refuse('LineageLeft', recorded, parent)
end

for index = 9, last_group do
  local group = args[index]
  if holds(owner, group) then
    for _, id in ipairs(members(group, 'claimed')) do
      local credit = credits[id]
      if credit and credit[3] ~= '' then discard(id, credit[3]) else train(id, version, credit) end
    end
    finish(group, 'trained')
    call('ZADD', key('trained'), version, group)
  end
end
publish_policy(version, path, parent, digest, created, step)
return 1
