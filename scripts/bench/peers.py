"""The Python side of the benchmarks: peers.py WORK COUNT prints one figure.

Rates are per second, times are seconds. Both ends are in different processes, as on our side;
clocks start with the first message, so that the start of Python and of its child do not count.
"""

import multiprocessing as mp
import statistics
import sys
import time

TABLE = {"id": 1, "name": "abc", "x": 1.5, "y": 2.5, "flags": [True, False, True]}


def put_all(queue, message, count):
    for _ in range(count):
        queue.put(message)


def queue_rate(queue, message, count):
    child = mp.Process(target=put_all, args=(queue, message, count))
    child.start()
    queue.get()
    started = time.perf_counter()
    for _ in range(count - 1):
        queue.get()
    seconds = time.perf_counter() - started
    child.join()
    return (count - 1) / seconds


def queue_small(count):
    return queue_rate(mp.Queue(), "x" * 16, count)


def queue_table(count):
    return queue_rate(mp.SimpleQueue(), TABLE, count)


def acknowledge(connection, count):
    for _ in range(count):
        connection.recv()
        connection.send(True)


def pipe_array(count):
    here, there = mp.Pipe()
    child = mp.Process(target=acknowledge, args=(there, count))
    child.start()
    numbers = list(range(1, 1000001))
    times = []
    for _ in range(count):
        started = time.perf_counter()
        here.send(numbers)
        here.recv()
        times.append(time.perf_counter() - started)
    child.join()
    return statistics.median(times)


def send_all(connection, message, count):
    for _ in range(count):
        connection.send(message)


def pipe_large(count):
    here, there = mp.Pipe(duplex=False)
    child = mp.Process(target=send_all, args=(there, b"x" * (1 << 20), count))
    child.start()
    here.recv()
    started = time.perf_counter()
    for _ in range(count - 1):
        here.recv()
    seconds = time.perf_counter() - started
    child.join()
    return (count - 1) / seconds


def echo(connection, count):
    for _ in range(count):
        connection.send(connection.recv())


def pingpong(count):
    here, there = mp.Pipe()
    child = mp.Process(target=echo, args=(there, count))
    child.start()
    times = []
    for i in range(count):
        started = time.perf_counter()
        here.send(i)
        here.recv()
        times.append(time.perf_counter() - started)
    child.join()
    return statistics.median(times)


def nothing(x):
    return x


def pool_rate(count, chunksize):
    with mp.Pool(2) as pool:
        pool.map(nothing, range(1000))
        started = time.perf_counter()
        pool.map(nothing, range(count), chunksize=chunksize)
        return count / (time.perf_counter() - started)


def pool_single(count):
    return pool_rate(count, 1)


def pool_default(count):
    return pool_rate(count, None)


def add_all(value, count, go):
    go.acquire()
    for _ in range(count):
        with value.get_lock():
            value.value += 1


def value_add(count):
    value, go = mp.Value("q", 0), mp.Semaphore(0)
    children = [mp.Process(target=add_all, args=(value, count, go)) for _ in range(2)]
    for child in children:
        child.start()
    started = time.perf_counter()
    for _ in children:
        go.release()
    for child in children:
        child.join()
    return 2 * count / (time.perf_counter() - started)


def touch(i):
    large[i] += 1


def array_touch(count):
    global large
    started = time.perf_counter()
    large = mp.Array("d", count)
    with mp.Pool(2) as pool:
        pool.apply(touch, (5,))
        return time.perf_counter() - started


large = None
WORKS = [queue_small, queue_table, pipe_array, pipe_large, pingpong, pool_single, pool_default,
         value_add, array_touch]

if __name__ == "__main__":
    work = {function.__name__: function for function in WORKS}[sys.argv[1]]
    print(repr(float(work(int(sys.argv[2])))))
