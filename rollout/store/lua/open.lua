-- open: open an episode unless it exists. args: those of opening.lua. Returns its header.
-- needs: keys, header, alarm, opening
if call('EXISTS', episode_key(args[1])) == 0 then
  local refusal = open_episode()
  if refusal then return refusal end
end
return header(args[1])
