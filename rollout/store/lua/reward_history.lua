-- reward_history: read every reward that was recorded. args: episode.
-- needs: keys
if call('EXISTS', episode_key(args[1])) == 0 then return refuse('NoSuchEpisode', args[1]) end
return call('LRANGE', episode_key(args[1], '.reward_log'), 0, -1)
