-- said: the place of the longest words that were said in an open episode of this shard, and when. Nothing if there is none.
-- args: key, 1 if the call may be a repeat, then the digests from the longest
-- needs: keys, finding
local owner, is_repeat = args[1], args[2]
for index = 3, #args do
  local id, at = said_in(key('found.words:' .. owner .. ':' .. args[index]), owner, is_repeat)
  if id then return {index - 3, at} end
end
