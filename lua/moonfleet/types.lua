---@meta moonfleet

-- The public surface of Moonfleet, for editors (LuaLS) and for readers. Nothing loads this file.
--
-- Timeouts are seconds, fractions allowed: nil and math.huge wait for ever, 0 does not wait.
-- Misuse raises a string at the caller's line; what fails at run time raises a mf.Error.

---@class moonfleet
---@field _VERSION string   "Moonfleet 0.1.0"
---@field Error table   the metatable of all mf.Error
local mf = {}

-- Errors and objects -----------------------------------------------------------------------------

---@alias mf.Kind "worker_died"|"timeout"|"cancelled"|"terminated"|"closed"|"not_sendable"|"decode"|"memory_limit"|"no_memory"|"system"|"initializer"|"deadlock"|"interrupted"

--- What failed at run time. `tostring` gives the message.
---@class mf.Error
---@field kind mf.Kind
---@field message string
---@field worker? string   worker_died: its name
---@field pid? integer   worker_died
---@field exitcode? integer   worker_died: of os.exit, or -signal
---@field stopped? boolean   timeout: true when a task was ended by its own limit
---@field path? string   not_sendable: where the value is
---@field errno? integer   system
---@field count? integer   no_memory of put_many: messages that were put
---@field index? integer   of a failed item (on_error = "collect")
---@field item? any   that item
---@field value? any   what it raised
---@field traceback? string   the worker's

--- Is it a mf.Error (of this kind)?
---@param e any
---@param kind? mf.Kind
---@return boolean
---@usage if mf.is_error(e, "timeout") then retry() end
function mf.is_error(e, kind) end

--- "Queue", "Process", "Thread", "Lock", "Array", "Pool", "Future", "Iterator" ...; nil of what is none.
---@param value any
---@return string?
function mf.type(value) end

-- Values -----------------------------------------------------------------------------------------

--- The values as a string of bytes. Raises not_sendable, with the path.
---@param ... any
---@return string
---@usage local bytes = mf.encode({ 1, 2 }, "x")
function mf.encode(...) end

--- What mf.encode was given. Of any bytes whatever it returns, or raises decode.
---@param bytes string
---@param options? { functions?: boolean }   functions: loads bytecode too; from one's own family only
---@return any ...
function mf.decode(bytes, options) end

--- What would travel with a function; its tostring is a readable list.
---@param fn function
---@return { upvalues: table, globals: table, modules: table, problem?: string }
---@usage print(mf.captures(work))
function mf.captures(fn) end

--- Gives a class a name by which it travels: what arrives has the receiver's own. Name and class
--- stay published until the program ends; registering a name again replaces it for who has not met
--- it yet.
---@param name string
---@param value table|function
---@usage mf.register("Point", Point)
function mf.register(name, value) end

--- The text of any value as a person reads it, the one that the prompt prints: strings quoted, keys
--- in order, lists without their `n`, tables on one line or indented; `&1 {...}` is shown again as
--- `*1`. A value's __tostring and its metatable's __name are respected, no other code of its own is
--- called. What is very long, wide or deep is cut at "… (n more)". Never raises.
---@param value any
---@return string
---@usage print(mf.inspect({ 1, 2, name = "moon" }))   --> {1, 2, name = "moon"}
function mf.inspect(value) end

--- One worker, as mf.stats() saw it. state: "starting"; "idle" (of a pool, with nothing to do);
--- "running"; "waiting" (inside a task or its target, in a call that sleeps); "ending" (its target has
--- returned).
---@class mf.WorkerStats
---@field name string
---@field pid? integer   of a thread: its process's; nil before it has one
---@field backend "process"|"thread"
---@field state? "starting"|"idle"|"running"|"waiting"|"ending"   nil of those that are gone
---@field task? string   "file:line" where what it runs was asked for, or where its target is
---@field busy number   seconds inside tasks or its target so far
---@field tasks integer   that it has ended; a target counts as one

---@class mf.Stats
---@field workers mf.WorkerStats[]   all workers of this program; the main state is none
---@field ended mf.WorkerStats[]   the last ones that are gone, at most 64
---@field tasks integer   ended by all so far, those that are gone and serial pools included
---@field busy number   seconds, of all so far
---@field messages integer   sent so far: into queues, arguments and results of tasks and targets
---@field bytes integer   of these, encoded
---@field shared_bytes integer   of shared memory that the runtime has taken

--- What all workers do and have done, from any state. `moonfleet --stats` prints it at the end.
---@return mf.Stats
---@usage for _, w in ipairs(mf.stats().workers) do print(w.name, w.state, w.task) end
function mf.stats() end

-- Time, machine, callbacks -----------------------------------------------------------------------

--- Monotonic seconds.
---@return number
function mf.time() end

--- Sleeps; callbacks that are due are run. Ends when the worker is stopped or Ctrl-C is pressed.
---@param seconds number
function mf.sleep(seconds) end

---@return integer
function mf.getpid() end

--- CPUs that may be used: affinity and cgroup quotas count.
---@return integer
function mf.cpu_count() end

--- Who waits where for what, as text: a line for each worker, and one for each lock that it holds,
--- with the line that acquired it. Can be called at any time; stops nobody.
---@return string
---@usage io.stderr:write(mf.dump_waits())
function mf.dump_waits() end

--- Runs the callbacks that are due, without waiting.
---@return integer   how many
function mf.poll() end

--- A descriptor that is readable when callbacks are due.
---@return integer
function mf.fd() end

-- Backends ---------------------------------------------------------------------------------------

---@alias mf.Backend "process"|"thread"|"serial"

--- The default of this state and of the workers that it starts from now on.
---@param backend mf.Backend   serial: pools only
function mf.set_backend(backend) end

--- A module like mf whose constructors default to that backend.
---@param backend mf.Backend
---@return moonfleet
---@usage local mf = require("moonfleet").with("thread")
function mf.with(backend) end

-- Workers ----------------------------------------------------------------------------------------

---@class mf.Process
---@field name string   default Process-1, Thread-1 ...; may be set before the start
---@field pid? integer   of a thread: its process's; nil before the start
---@field ident any   no other worker has it
---@field daemon boolean   terminated at the end of its starter; may be set before the start
---@field backend "process"|"thread"
---@field sentinel integer   a descriptor that is readable once the worker has ended
---@field exitcode? integer   nil before the end; 0; 1 after an error; of os.exit; -signal
local Process = {}

---@class mf.ProcessOptions
---@field target fun(...): any   or "module:name"
---@field args? table   `n` is honoured
---@field kwargs? table   arrives behind the arguments
---@field name? string
---@field daemon? boolean
---@field backend? "process"|"thread"
---@field memory_limit? integer   bytes

--- A worker that is not started yet.
---@param target fun(...): any|string|mf.ProcessOptions
---@param ... any
---@return mf.Process
---@usage local p = mf.Process(print, "hello") p:start() p:join()
---@usage local Worker = mf.Process:extend { run = function(self) return self.a end }
function mf.Process(target, ...) end

--- A Process with backend = "thread".
---@param target fun(...): any|string|mf.ProcessOptions
---@param ... any
---@return mf.Process
function mf.Thread(target, ...) end

--- Process(...), started.
---@return mf.Process
---@usage local sum = mf.spawn(function(a, b) return a + b end, 1, 2):result()
function mf.spawn(target, ...) end

--- A subclass: its instances, made by calling it with a table of fields, run their method `run`
--- with a copy of themselves. Metamethods given here hold for instances.
---@param definition table
function Process:extend(definition) end

--- Starts it; target, args and kwargs are encoded now. Raises not_sendable, system, no_memory.
---@return mf.Process self
function Process:start() end

--- Waits for the end.
---@param timeout? number
---@return boolean ended   true, or false, "timeout"
---@return string? reason
function Process:join(timeout) end

---@return boolean
function Process:is_alive() end

--- Ends it, an endless loop included. Of a thread the to-be-closed variables run.
function Process:terminate() end

--- Ends it without running any more of its code but finalizers.
function Process:kill() end

--- Releases an ended worker; its fields stay readable, all else raises. Twice is harmless.
function Process:close() end

--- Joins and returns what the target returned, or raises what it raised (strings with the worker's
--- traceback behind them); worker_died, terminated, memory_limit, timeout.
---@param timeout? number
---@return any ...
function Process:result(timeout) end

--- Joins and returns the bare error value and the traceback; nil when there was none.
---@param timeout? number
---@return any error
---@return string? traceback
function Process:exception(timeout) end

--- The worker in which this is called, or the main state, whose name is "main".
---@return mf.Process
function mf.current_process() end

--- Who started this worker: name, pid, ident, is_alive(), join([timeout]); nil in the main state.
---@return mf.Process?
function mf.parent_process() end

--- The workers that this one has started and that run.
---@return mf.Process[]
function mf.active_children() end

-- Queues -----------------------------------------------------------------------------------------

---@class mf.Queue
---@field fd integer   readable while a get would not wait; poll it, do not read or close it
local Queue = {}

--- First in, first out, of any sendable values, for all workers.
---@param maxsize? integer|{ maxsize?: integer, max_bytes?: integer }   0 or nil: unbounded
---@return mf.Queue
function mf.Queue(maxsize) end

mf.JoinableQueue = mf.Queue
mf.SimpleQueue = mf.Queue

--- Raises not_sendable first.
---@param value any
---@param timeout? number
---@return true?   or nil, "timeout"|"closed"
---@return string? reason
function Queue:put(value, timeout) end

---@return true?   or nil, "full"|"closed"
---@return string? reason
function Queue:put_nowait(value) end

--- `nil` is a legal message: success is reason == nil.
---@param timeout? number
---@return any value   or nil, "timeout"|"closed"
---@return string? reason
function Queue:get(timeout) end

---@return any value   or nil, "empty"|"closed"
---@return string? reason
function Queue:get_nowait() end

--- All are encoded first. no_memory in the middle says in its field `count` how many were put.
---@param list table   `n` is honoured
---@param timeout? number
---@return integer count   how many were put; a reason where fewer than all
---@return string? reason
function Queue:put_many(list, timeout) end

--- What is there, waiting for the first message only. A message that cannot be decoded is left out
--- of the list; its error is raised by the next get of this queue here, or at once where nothing else
--- came.
---@param max? integer   nil: all that is there
---@param timeout? number
---@return table? list   with n; or nil, reason
---@return string? reason
function Queue:get_many(max, timeout) end

--- Yields (running number, message) until the queue is closed and drained.
---@usage for i, v in q:iter() do print(i, v) end
function Queue:iter() end

---@return integer
function Queue:size() end
Queue.qsize = Queue.size

---@return boolean
function Queue:empty() end
---@return boolean
function Queue:full() end

--- Puts end; gets drain, then give nil, "closed".
function Queue:close() end

--- A message that was taken is done. Raises when all that were taken are done already. What a
--- consumer had taken counts as done when it ends or lets go of the queue.
function Queue:task_done() end

--- Waits until every message that was put is done.
---@param timeout? number
---@return boolean done   true, or false, "timeout"
---@return string? reason
function Queue:join(timeout) end

-- Pipes ------------------------------------------------------------------------------------------

--- One end of a pipe. It is closed when its last handle is closed or collected, or the last worker
--- that has one ends; a handle in a message on its way counts. What was sent before is received.
--- (Ends of several pipes that were sent through each other in a circle stay until the program ends.)
---@class mf.Connection
---@field fd integer   readable while recv would not wait; poll it, do not read or close it
local Connection = {}

--- Two ends: what one sends the other receives.
---@param duplex? boolean|{ duplex?: boolean }   default true; false: the first receives, the second
---@return mf.Connection, mf.Connection   sends
---@usage local here, there = mf.Pipe() mf.spawn(work, there) there:close() print(here:recv())
function mf.Pipe(duplex) end

--- Never waits. Raises not_sendable first.
---@param value any
---@return true?   or nil, "closed": nobody can receive it
---@return string? reason
function Connection:send(value) end

--- `nil` is a legal message: success is reason == nil.
---@param timeout? number
---@return any value   or nil, "timeout"|"closed"
---@return string? reason
function Connection:recv(timeout) end

--- A string as it is: recv_bytes takes nothing else.
---@param bytes string
---@return true?   or nil, "closed"
---@return string? reason
function Connection:send_bytes(bytes) end

--- Raises when the next message was sent by send, and leaves it there.
---@param timeout? number
---@return string? bytes   or nil, "timeout"|"closed"
---@return string? reason
function Connection:recv_bytes(timeout) end

--- Is there a message, or the end?
---@param timeout? number   default 0
---@return boolean   true, or false, "timeout"
---@return string? reason
function Connection:poll(timeout) end

--- Lets this handle go; all else raises `closed` from then on. Twice is harmless.
function Connection:close() end

-- Waiting for several things ---------------------------------------------------------------------

---@alias mf.Selectable mf.Queue|mf.Connection|mf.Process|mf.Future|mf.Event

--- Waits for the first that is ready, and gives it with what it gave: a message, which is taken; an
--- exitcode; a future's first result (a failed one raises its error); true of an event. Fair when several are ready.
---@param list mf.Selectable[]
---@param timeout? number
---@return mf.Selectable? object   nil after a timeout
---@return any value   "timeout" after a timeout
---@return string? reason   "closed": this queue or connection is closed and drained
---@usage local from, message, reason = mf.select({ queue, connection, worker }, 5)
function mf.select(list, timeout) end

--- Waits until at least one is ready, and takes nothing.
---@param list mf.Selectable[]
---@param timeout? number
---@return mf.Selectable[]   those that are ready; empty after a timeout
function mf.wait_any(list, timeout) end

-- Locks ------------------------------------------------------------------------------------------

---@class mf.Lock
local Lock = {}

---@return mf.Lock
function mf.Lock() end
--- A lock that its holder may acquire again.
---@return mf.Lock
function mf.RLock() end

--- Waiting without a timeout raises `deadlock` where it would close a cycle of workers that wait so
--- for each other's locks; so does acquiring a Lock that one holds, with any timeout.
---@param timeout? number
---@return boolean   true; true, "abandoned" when the last holder ended while it held it; or false,
--- "timeout"
---@return string? reason
function Lock:acquire(timeout) end

--- Raises unless this worker holds it.
function Lock:release() end
---@return boolean
function Lock:locked() end

--- fn's results; releases and passes errors on. Raises `deadlock`.
---@param fn fun(...): any
---@return any ...
function Lock:with(fn, ...) end

--- A guard that releases at the end of its scope; its field `abandoned` tells of the last holder.
--- Raises `deadlock`.
---@usage local _ <close> = lock:hold()
function Lock:hold() end

---@class mf.Semaphore: mf.Lock
local Semaphore = {}

---@param count? integer   default 1
---@return mf.Semaphore
function mf.Semaphore(count) end

--- Raises on release above `count`; gets back what a dead worker had acquired.
---@param count? integer   default 1
---@return mf.Semaphore
function mf.BoundedSemaphore(count) end

---@param count? integer   default 1
function Semaphore:release(count) end
---@return integer
function Semaphore:value() end

-- Shared numbers ---------------------------------------------------------------------------------

---@alias mf.Type "i8"|"u8"|"i16"|"u16"|"i32"|"u32"|"i64"|"u64"|"f32"|"f64"|"bool"|"b"|"B"|"h"|"H"|"i"|"I"|"l"|"L"|"q"|"Q"|"f"|"d"|"?"

--- One number (or boolean) that all workers read and change; each access is atomic, and all workers
--- see these in one order. What does not fit its type raises: integer types take floats with an
--- integer value, u64 is 0..math.maxinteger, f32 rounds to the nearest (finite numbers above its
--- largest raise; inf and nan fit), bool takes booleans alone.
---@class mf.Value
---@field value number|boolean   read and write
local Value = {}

---@param type mf.Type|{ type: mf.Type, init?: number|boolean }
---@param init? number|boolean   default 0, false
---@return mf.Value
---@usage local hits = mf.Value("i64") hits:add(1) print(hits.value)
function mf.Value(type, init) end

mf.RawValue = mf.Value

--- Adds `k`. A sum that does not fit raises, and nothing is changed. Not for bool.
---@param k number
---@return number sum
function Value:add(k) end

---@param x number|boolean
---@return number|boolean before
function Value:swap(x) end

--- Sets it to `new` if it equals `old`, as numbers do: -0.0 is 0.0, NaN equals nothing; of f32 `old`
--- is rounded as it would be when it was stored.
---@param old number|boolean
---@param new number|boolean
---@return boolean done
function Value:cas(old, new) end

--- Its Lock, always the same one, for what takes more than one access.
---@return mf.Lock
---@usage v:lock():with(function() v.value = v.value * 2 end)
function Value:lock() end

--- Numbers of one type in shared memory, in up to 16 dimensions, which nobody copies. `a[i]` and
--- `#a` count all elements from 1, row by row; an index out of range raises, but a[#a + 1] reads as
--- nil: there ipairs stops. Single elements are read and written whole; calls for many (set, fill,
--- bytes, copy, totable) are not atomic as a whole, and one whose worker is killed may be half done.
---@class mf.Array
---@field [integer] number|boolean
local Array = {}

---@class mf.ArrayOptions
---@field type mf.Type
---@field shape? integer[]   rows, columns ...; default: that of init
---@field init? table|string   a list, rows of rows, bytes; default 0 everywhere

--- Raises no_memory. What fits a Value fits an element.
---@param type mf.Type|mf.ArrayOptions
---@param n integer|table|string   how many zeros; or the elements: a list (`n` honoured), rows,
--- an iterator, an Array, bytes
---@return mf.Array
---@usage local a = mf.Array("f64", { 1, 2, 3 })
---@usage local m = mf.Array { type = "f64", shape = { 20, 30 } }
function mf.Array(type, n) end

mf.RawArray = mf.Array

---@return integer ...   rows, columns ...
function Array:shape() end

--- The element at these indices, as many as it has dimensions.
---@param i integer
---@param ... integer
---@return number|boolean
function Array:at(i, ...) end

---@param x number|boolean
---@param i integer
---@param ... integer
---@usage m:put(1.5, row, column)
function Array:put(x, i, ...) end

--- Elements i to j in a list; without a range all of them, nested by rows if it has dimensions.
---@param i? integer   default 1
---@param j? integer   default #a
---@return table
function Array:totable(i, j) end

--- Writes a list (`n` honoured), bytes or an Array of the same type from element `i` on. What does
--- not fit raises, and nothing is changed.
---@param i integer
---@param list table|string|mf.Array   bytes: of whole elements, as bytes() gives them
function Array:set(i, list) end

---@param x number|boolean
function Array:fill(x) end

--- A new Array with the same elements and shape, and memory of its own.
---@return mf.Array
function Array:copy() end

--- The bytes of all elements, little-endian.
---@return string
function Array:bytes() end

--- Its Lock, always the same one; views have their Array's.
---@return mf.Lock
function Array:lock() end

--- Elements i to j as an Array that shares this one's memory. It is sent by reference, like any
--- Array, and keeps the memory alive.
---@param i? integer   default 1
---@param j? integer   default #a
---@return mf.Array
function Array:view(i, j) end

--- k views that are all of it, in order; the first ones have one element (of several dimensions:
--- one row) more where it does not divide. With more parts than rows the last ones are empty.
---@param k integer
---@return mf.Array[]
---@usage pool:map(work, matrix:split(4))
function Array:split(k) end

--- The same elements in another shape; a view.
---@param ... integer   sizes with as many elements in all
---@return mf.Array
function Array:reshape(...) end
-- Events, conditions, barriers ---------------------------------------------------------------------

---@class mf.Event
local Event = {}

--- A flag that workers wait for, clear at first.
---@return mf.Event
---@usage local ready = mf.Event() mf.spawn(function() ready:set() end) ready:wait()
function mf.Event() end

--- Frees all who wait at this moment, even if it is cleared at once.
function Event:set() end
function Event:clear() end
---@return boolean
function Event:is_set() end

---@param timeout? number   seconds
---@return boolean   true; or false, "timeout"
---@return string? reason
function Event:wait(timeout) end

--- Where workers wait for a change that others tell them of. `acquire`, `release`, `with` and `hold`
--- are those of its lock; the rest is for the holder of the lock only, else it raises.
---@class mf.Condition
local Condition = {}

---@param lock? mf.Lock   a Lock or an RLock; default: an RLock of its own
---@return mf.Condition
---@usage cond:with(function() cond:wait_for(function() return not q:empty() end) end)
function mf.Condition(lock) end

---@param timeout? number   seconds
---@return boolean   as Lock:acquire
---@return string? reason
function Condition:acquire(timeout) end
--- Raises unless this worker holds it.
function Condition:release() end
--- fn's results; releases and passes errors on.
---@param fn fun(...): any
---@return any ...
function Condition:with(fn, ...) end
--- A guard that releases at the end of its scope.
function Condition:hold() end

--- Gives the lock back wholly, sleeps until a notify, and has the lock again, as often as before,
--- when it returns. A notify for a waiter that dies, or whose wait raises, goes to the next that
--- waited when it came. At Ctrl-C it raises, with the lock where that comes free within a second;
--- then, and when it raises `deadlock`, releases of what it has not got again do nothing.
---@param timeout? number   seconds, without what the lock takes
---@return boolean   true; or false, "timeout"
---@return string? reason   behind these "abandoned": the lock's last holder ended while it held it
---@return string? abandoned
function Condition:wait(timeout) end

--- Waits until pred() is true; it is called with the lock held, at first and after each notify.
---@param pred fun(): any
---@param timeout? number   seconds for all of it
---@return any value   what pred gave at last; "timeout" behind it where that is false or nil
---@return string? reason   behind these "abandoned", as in wait
---@return string? abandoned
function Condition:wait_for(pred, timeout) end

--- Wakes those who have waited longest; they go on one by one, as each gets the lock.
---@param count? integer   default 1
function Condition:notify(count) end
--- Wakes all who wait now.
function Condition:notify_all() end

---@class mf.Barrier
local Barrier = {}

---@class mf.BarrierOptions
---@field parties? integer   how many, where no number stands before the options
---@field action? fun()|string   called by one of them before any goes on; a copy, sent along once
---@field timeout? number   seconds, of a wait that names none; default: none

--- Where a number of workers wait until all have come; may be used again and again.
---@param parties integer|mf.BarrierOptions
---@param options? mf.BarrierOptions
---@return mf.Barrier
---@usage local barrier = mf.Barrier(3, { action = function() print "all are here" end })
function mf.Barrier(parties, options) end

--- It is broken for all, until a reset, when one who waits times out, is stopped or dies, or when
--- the action raises (in who ran it: its own error).
---@param timeout? number   seconds; nil: the barrier's own; math.huge: for ever
---@return integer?   1 .. parties, in the order of coming; or nil, "broken"|"timeout"
---@return string? reason
function Barrier:wait(timeout) end

--- Breaks it for all who wait or come, until a reset.
function Barrier:abort() end
--- Breaks it for those who wait; whoever comes from now on finds it as new.
function Barrier:reset() end
---@return integer
function Barrier:parties() end
--- How many have come and wait.
---@return integer
function Barrier:waiting() end
---@return boolean
function Barrier:broken() end

-- Pools ------------------------------------------------------------------------------------------

---@class mf.Pool
---@field size integer   workers that it is to have
---@field name string
local Pool = {}

---@class mf.PoolOptions
---@field workers? integer   default mf.cpu_count(); also `processes`, `max_workers`
---@field backend? mf.Backend
---@field name? string   default Pool-1
---@field initializer? fun(...)   called in each worker before its first task
---@field initargs? table
---@field max_tasks_per_worker? integer   also `maxtasksperchild`
---@field task_timeout? number   seconds that a task may run
---@field memory_limit? integer   bytes of each worker

---@param workers? integer|mf.PoolOptions
---@return mf.Pool
---@usage local pool <close> = mf.Pool(4)
function mf.Pool(workers) end

---@param workers? integer|mf.PoolOptions
---@return mf.Pool
function mf.ThreadPool(workers) end

--- The default pool, made at first use and kept warm.
---@return mf.Pool
function mf.pool() end

---@class mf.MapOptions
---@field chunksize? integer   items for a worker at once; default: chosen from measured time
---@field window? integer   items in flight, results not yet taken included; default: 4 chunks a worker
---@field timeout? number   of the whole call; of imap: of each step
---@field task_timeout? number   of each item
---@field progress? boolean|string   lines on standard error
---@field on_error? "raise"|"collect"   collect: a mf.Error stands in the place of a failed item
---@field seed? integer   each item draws the same random numbers, however many workers there are

---@alias mf.Input table|mf.Queue|mf.Iterator|fun(): any

--- Waits and gives the results.
---@param f fun(...): any
---@param args? table
---@param kwargs? table
---@return any ...
function Pool:apply(f, args, kwargs) end

---@return mf.Future
function Pool:apply_async(f, args, kwargs, callback, error_callback) end

--- Also submit{ target=, args=, kwargs=, task_timeout=, name= }.
---@return mf.Future
---@usage local f = pool:submit(resize, "a.png") print(f:get())
function Pool:submit(f, ...) end

--- Applies f to every item; results in input order, with n. Raises as soon as an item failed: of
--- those that failed by then, the error of the first in input order.
---@param f fun(item: any): any
---@param xs mf.Input
---@param opts? mf.MapOptions
---@return table
---@usage local squares = pool:map(function(x) return x * x end, { 1, 2, 3 })
function Pool:map(f, xs, opts) end

--- map with the elements of each item as arguments.
---@return table
function Pool:starmap(f, xs, opts) end

--- The same as a Future of the list. The callbacks run in this state, inside its next waiting call
--- or mf.poll().
---@param f fun(item: any): any
---@param xs mf.Input
---@param opts? mf.MapOptions
---@param callback? fun(results: table)
---@param error_callback? fun(err: any)   gets the error that map would raise
---@return mf.Future
---@usage pool:map_async(resize, files, nil, function(sizes) print(#sizes .. " done") end)
function Pool:map_async(f, xs, opts, callback, error_callback) end
---@return mf.Future
function Pool:starmap_async(f, xs, opts, callback, error_callback) end

--- Yields (index, values...) in input order; pulls its input only as fast as results are taken.
---@return mf.Iterator
---@usage for i, v in pool:imap(work, io.lines(path)) do print(i, v) end
function Pool:imap(f, xs, opts) end
--- The same, whichever is ready first.
---@return mf.Iterator
function Pool:imap_unordered(f, xs, opts) end
---@return mf.Iterator
function Pool:istarmap(f, xs, opts) end

--- Folds with an associative f; init enters once, first.
---@return any
function Pool:reduce(f, xs, init, opts) end

--- Runs f on every worker, later ones included.
---@return table results
function Pool:everywhere(f, ...) end

--- No more tasks; those that it has are finished.
function Pool:close() end
--- Its tasks end as `terminated`.
function Pool:terminate() end
--- Waits for the workers' end; raises before close.
---@param timeout? number
---@return boolean ended   true, or false, "timeout"
---@return string? reason
function Pool:join(timeout) end
---@param workers integer
function Pool:resize(workers) end
--- Each worker is replaced when idle.
function Pool:restart() end
---@return { workers: integer, submitted: integer, queued: integer, running: integer, done: integer, failed: integer, cancelled: integer, died: integer }
function Pool:stats() end

-- On the default pool:
mf.map, mf.starmap, mf.map_async, mf.starmap_async = Pool.map, Pool.starmap, Pool.map_async,
  Pool.starmap_async
mf.imap, mf.imap_unordered, mf.istarmap = Pool.imap, Pool.imap_unordered, Pool.istarmap
mf.reduce, mf.submit, mf.apply, mf.apply_async = Pool.reduce, Pool.submit, Pool.apply,
  Pool.apply_async
mf.everywhere = Pool.everywhere

-- Futures ----------------------------------------------------------------------------------------

---@class mf.Future
---@field fd integer   readable once done; poll it, do not read or close it
local Future = {}

--- All values of the task, again and again; raises its error, or timeout.
---@param timeout? number
---@return any ...
function Future:get(timeout) end
Future.result = Future.get

---@param timeout? number
---@return boolean done   true, or false, "timeout"
---@return string? reason
function Future:wait(timeout) end

---@param timeout? number
---@return any error   nil when there was none
---@return string? traceback
function Future:exception(timeout) end

---@return string?
function Future:traceback() end
---@return boolean
function Future:done() end
---@return boolean
function Future:running() end
---@return boolean
function Future:successful() end
---@return boolean
function Future:cancelled() end

--- True when it is or was cancelled; force: ends a task that runs.
---@param options? { force?: boolean }
---@return boolean
function Future:cancel(options) end

--- fn(future) is called in this state, in its next waiting call or mf.poll().
---@param fn fun(future: mf.Future)
function Future:add_done_callback(fn) end

--- A Future of fn's results; of a failed one: of the same error.
---@param fn fun(...): any
---@return mf.Future
function Future:then_(fn) end

-- Iterators --------------------------------------------------------------------------------------

--- A callable object that yields (index, values...); leaving a `for` early closes it.
---@class mf.Iterator
---@operator call: integer?
local Iterator = {}

--- What has not begun is dropped. Twice is harmless.
function Iterator:close() end

--- The numbers a .. b, b included. As an input of map and its kin a range is not used up.
---@return mf.Iterator
---@usage pool:map(f, mf.range(1, 100))
function mf.range(a, b, step) end

--- An iterator of what a generic `for` takes.
---@return mf.Iterator
---@usage pool:starmap(f, mf.iter(pairs(t)))
function mf.iter(f, s, var) end

return mf
