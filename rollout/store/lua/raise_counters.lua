-- raise_counters: never give out again what the ledger knows. A store that was restored from an older copy counts from
--   there, and says since when its totals lack what was lost.
-- args: the ledger's latest sequence, its latest policy version
-- needs: keys
local sequence, version = tonumber(args[1]), tonumber(args[2])
if sequence > number(call('HGET', key('totals'), 'settlements')) then
  call('HSET', key('totals'), 'settlements', args[1], 'restored', now)
end
if version > number(call('GET', key('version'))) then
  call('SET', key('version'), args[2])
  keep_copy('version')
end
return 1
