"""A minimal bot on discord.py: what a bot in Python costs before it does anything clever.

It opens a thread for a mention, shows typing, asks the model once, keeps both words in SQLite as durably as
kotonoha does, and answers. Nothing else: no retries, no streaming, no catching up.
"""

import json
import os
import sqlite3
import urllib.request

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

Route.BASE = os.environ["DISCORD_API_URL"] + "/api/v10"


def gateway():
    """Where the stand-in's gateway is: the library asks for none, it goes to the real one by itself."""
    headers = {"Authorization": "Bot " + os.environ["DISCORD_TOKEN"]}
    request = urllib.request.Request(Route.BASE + "/gateway/bot", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return yarl.URL(json.load(answer)["url"])


DiscordWebSocket.DEFAULT_GATEWAY = gateway()


class MinimalBot(discord.Client):
    async def setup_hook(self):
        self.web = aiohttp.ClientSession()
        self.store = sqlite3.connect(os.environ["DATA_DIR"] + "/peer.db", isolation_level=None)
        self.store.execute("PRAGMA journal_mode=WAL")
        self.store.execute("PRAGMA synchronous=FULL")
        self.store.execute("CREATE TABLE said (place INTEGER, role TEXT, words TEXT)")

    def remember(self, place, role, words):
        self.store.execute("INSERT INTO said VALUES (?, ?, ?)", (place, role, words))

    async def ask(self, words):
        url = os.environ["ANTHROPIC_BASE_URL"] + "/v1/messages"
        headers = {"x-api-key": os.environ["ANTHROPIC_API_KEY"], "anthropic-version": "2023-06-01"}
        question = {
            "model": "claude-haiku-4-5",
            "max_tokens": 2048,
            "messages": [{"role": "user", "content": words}],
        }
        async with self.web.post(url, json=question, headers=headers) as answer:
            return (await answer.json())["content"][0]["text"]

    async def on_message(self, message):
        if message.author.bot:
            return
        channel = message.channel
        if self.user in message.mentions:
            place = await message.create_thread(name=message.clean_content[:50] or "talk")
        elif isinstance(channel, discord.Thread) and channel.owner_id == self.user.id:
            place = channel
        else:
            return
        self.remember(place.id, "user", message.clean_content)
        async with place.typing():
            answer = await self.ask(message.clean_content)
        await place.send(answer)
        self.remember(place.id, "assistant", answer)


intents = discord.Intents.default()
intents.message_content = True
bot = MinimalBot(intents=intents, allowed_mentions=discord.AllowedMentions.none())
bot.run(os.environ["DISCORD_TOKEN"], log_handler=None)
