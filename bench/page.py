def measured(r): 
    import orjson
    return orjson.dumps(r,option=orjson.OPT_INDENT_2).decode()
def write(r): pass
