-- checkpointed: let data that was trained into this version or an earlier one expire. args: version.
-- needs: keys, open_episodes, alarm, places, episode, group
for _, group in ipairs(call('ZRANGEBYSCORE', key('trained'), '-inf', args[1])) do
  for _, id in ipairs(members(group, 'trained')) do expire_later(id) end
  call('ZREM', key('trained'), group)
end
return 1
