# Runs commands that the UA brings while it still runs; where none of its processes does, there is nothing to ask.
# Set by the caller besides: function 'hooks'.
if [ -z "$(processes)" ]; then
    echo skipped
    exit 0
fi
hooks
echo 'done'
