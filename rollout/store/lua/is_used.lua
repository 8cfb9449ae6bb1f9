-- is_used: whether this shard has live episodes, episodes that the ledger lacks, or groups that an older checkpoint may train
-- again. No args.
-- needs: keys
local live = 0
for _, status in ipairs({'open', 'sealed', 'rewarded', 'claimed'}) do live = live + number(call('HGET', key('totals'), status)) end
return (live > 0 or call('ZCARD', key('settled')) + call('ZCARD', key('trained')) > 0) and 1 or 0
