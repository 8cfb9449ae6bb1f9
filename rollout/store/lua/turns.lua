-- turns: read the whole log. args: episode.
-- needs: keys
if call('EXISTS', episode_key(args[1])) == 0 then return refuse('NoSuchEpisode', args[1]) end
return call('LRANGE', episode_key(args[1], '.turns'), 0, -1)
