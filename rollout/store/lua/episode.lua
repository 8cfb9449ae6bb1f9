-- episode: read header, turns, rewards, reward weights and advantages. args: episode.
-- needs: keys, header
if call('EXISTS', episode_key(args[1])) == 0 then return false end
return view(args[1])
