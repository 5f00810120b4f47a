"""What runs inside the server for session pools: one Lua script for each operation, so that each is one atomic step.

A pool has four keys, in one slot of a cluster, each a sorted set: ``PREFIXpool:{NAME}:held`` (ticket by the end of its
lease), ``:queue`` (ticket by its arrival), ``:leases`` (the same tickets by the ends of theirs) and ``:connects`` (one
member for each, by its time). Times are the server's, in microseconds; so are arrivals, less `EARLIER` for resumes, so
that they stand in front. No step costs more than the logarithm of what waits, for each ticket that it is about. A key
goes when the last of its leases ends.
"""

from __future__ import annotations

from resumekit_redis.scripts import Script

__all__ = ["CONNECTED", "ENTER", "LEAVE", "RENEW_ALL"]

_LIMITED = """
local held, queue, leases, connects = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most, count, span = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])  -- less than 0: any number
local EARLIER = 4e15
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end

local function forget()  -- those whose lease is over
  redis.call('ZREMRANGEBYSCORE', held, '-inf', text(now))
  for _, ticket in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', text(now))) do
    redis.call('ZREM', leases, ticket)
    redis.call('ZREM', queue, ticket)
  end
  if count >= 0 then
    redis.call('ZREMRANGEBYSCORE', connects, '-inf', text(now - span))
    redis.call('ZREMRANGEBYSCORE', connects, '(' .. text(now), '+inf')  -- the server's clock was set back
  end
end

local function connect()
  if count < 0 then return end
  redis.call('ZADD', connects, text(now), text(now) .. ' ' .. redis.call('ZCARD', connects))
  redis.call('PEXPIREAT', connects, text(math.ceil((now + span) / 1000)))
end

local function hold(ticket, ends)
  redis.call('ZREM', queue, ticket)
  redis.call('ZREM', leases, ticket)
  redis.call('ZADD', held, ends, ticket)
end

local function is_there_room() return most < 0 or redis.call('ZCARD', held) < most end

local function let_in()  -- whom there is room for
  while is_there_room() do
    local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
    if not first[1] then break end
    if tonumber(first[2]) > 0 and count >= 0 and redis.call('ZCARD', connects) >= count then break end
    hold(first[1], redis.call('ZSCORE', leases, first[1]))
    connect()
  end
end

local function expire(key, of)
  local last = redis.call('ZRANGE', of, -1, -1, 'WITHSCORES')
  if last[2] then redis.call('PEXPIREAT', key, text(math.ceil(last[2] / 1000))) end
end

local function keep()  -- the keys, for as long as somebody has a lease
  expire(held, held)
  expire(leases, leases)
  expire(queue, leases)
end

local function place(ticket)  -- held, place
  if redis.call('ZSCORE', held, ticket) then return 1, 0 end
  local rank = redis.call('ZRANK', queue, ticket)
  return 0, rank and rank + 1 or 0
end

local function state()  -- waiting, sessions, microseconds until the rate lets one in (-1: that is not what is missing)
  local wait = -1
  if count >= 0 and is_there_room() then
    local oldest = redis.call('ZRANGE', connects, 0, 0, 'WITHSCORES')
    if oldest[2] then wait = math.max(oldest[2] + span - now, 0) end
  end
  return redis.call('ZCARD', queue), redis.call('ZCARD', held), text(wait)
end
"""

ENTER = Script(
    _LIMITED
    + """
local ticket, ends, resumes, force = ARGV[4], text(now + ARGV[5]), ARGV[6] == '1', ARGV[7] == '1'
forget()
let_in()
if redis.call('ZSCORE', held, ticket) then
  redis.call('ZADD', held, ends, ticket)
elseif force then
  hold(ticket, ends)
  connect()
else
  if not redis.call('ZSCORE', leases, ticket) then
    local last, arrival
    if resumes then
      last = redis.call('ZREVRANGEBYSCORE', queue, '(0', '-inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
      arrival = math.max(now - EARLIER, (last or -EARLIER) + 1)
    else
      last = redis.call('ZREVRANGEBYSCORE', queue, '+inf', '(0', 'WITHSCORES', 'LIMIT', 0, 1)[2]
      arrival = math.max(now, (last or 0) + 1)
    end
    redis.call('ZADD', queue, text(arrival), ticket)
  end
  redis.call('ZADD', leases, ends, ticket)
  let_in()
end
keep()
local is_held, rank = place(ticket)
local waiting, sessions, wait = state()
return {waiting, sessions, wait, is_held, rank}
"""
)

RENEW_ALL = Script(
    _LIMITED
    + """
local ends, those_held = text(now + ARGV[4]), tonumber(ARGV[5])
forget()
for at = 6, 5 + those_held do hold(ARGV[at], ends) end
for at = 6 + those_held, #ARGV do
  if redis.call('ZSCORE', held, ARGV[at]) then
    redis.call('ZADD', held, ends, ARGV[at])
  elseif redis.call('ZSCORE', leases, ARGV[at]) then
    redis.call('ZADD', leases, ends, ARGV[at])
  end
end
let_in()
keep()
local answer = {state()}
for at = 6 + those_held, #ARGV do
  local is_held, rank = place(ARGV[at])
  answer[#answer + 1] = is_held
  answer[#answer + 1] = rank
end
return answer
"""
)

CONNECTED = Script(
    _LIMITED
    + """
forget()
let_in()
connect()
return redis.call('ZCARD', connects)
"""
)

LEAVE = Script("""
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return 1
""")
