-- open: open an episode unless it exists. args: those of opening.lua, then the digest of the body or ''. Returns its header.
-- needs: keys, open_episodes, header, alarm, places, opening
local id, digest = args[1], args[14]
if call('EXISTS', episode_key(id)) == 0 then
  local refusal = open_episode(1, 0)
  if refusal then return refusal end
  if digest ~= '' then call('HSET', episode_key(id), 'opened_by', digest) end
elseif digest ~= '' and call('HGET', episode_key(id), 'opened_by') ~= digest then
  return refuse('RetryMismatch', id)
end
return header(id)
