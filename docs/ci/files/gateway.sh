# Build the gateway of a git revision, and start it on a port of this machine in front of the simulator.
# Replace the commands with those that build and start your gateway.
set -eu
revision=$1 port=$2
git worktree add --force "../gateway-$port" "$revision"
docker build --quiet --tag "gateway:$port" "../gateway-$port"
exec docker run --rm --network host "gateway:$port" --listen "$port" --upstream ws://127.0.0.1:8765
