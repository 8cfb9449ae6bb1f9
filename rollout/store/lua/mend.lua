-- mend: move a damaged record aside, and derive it again where others tell about it. args: name without the prefix, why.
-- needs: keys, rebuild
if call('EXISTS', key(args[1])) == 1 then mend(key(args[1]), args[2]) end
return 1
