"""SQLAlchemy's asyncio extension, whose greenlets switch inside a task's step."""

import asyncio

import pytest
import real

sqlalchemy = real.need("sqlalchemy")
real.need("greenlet")
real.need("asyncpg")
real.need("psycopg")
from sqlalchemy import ForeignKey, select, text  # noqa: E402
from sqlalchemy.exc import IntegrityError  # noqa: E402
from sqlalchemy.ext.asyncio import (  # noqa: E402
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import (  # noqa: E402
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
    selectinload,
)


class Base(DeclarativeBase):
    pass


class Author(Base):
    __tablename__ = "author"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    books: Mapped[list["Book"]] = relationship(back_populates="author")


class Book(Base):
    __tablename__ = "book"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"))
    author: Mapped[Author] = relationship(back_populates="books")


@pytest.fixture(params=["asyncpg", "psycopg"])
def make_engine(request, postgres):
    def make(**options):
        url = postgres.dsn.replace("postgresql", f"postgresql+{request.param}")
        return create_async_engine(url, **options)

    return make


def test_orm(run, make_engine):
    async def main():
        engine = make_engine()
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        session_of = async_sessionmaker(engine, expire_on_commit=False)
        async with session_of() as session, session.begin():
            for number in range(20):
                books = [Book(title=f"{number}/{n}") for n in range(5)]
                session.add(Author(name=f"author {number}", books=books))
        async with session_of() as session:
            query = (
                select(Author).options(selectinload(Author.books)).order_by(Author.id)
            )
            authors = (await session.scalars(query)).all()
            assert [len(author.books) for author in authors] == [5] * 20
            authors[0].name = "author 1"
            with pytest.raises(IntegrityError):
                await session.commit()
            await session.rollback()
            # A lazy load, which waits for the database inside the greenlet.
            book = await session.scalar(select(Book).where(Book.title == "3/3"))
            author = await session.run_sync(lambda session: book.author)
            assert author.name == "author 3"
        await engine.dispose()

    run(main)


def test_many_sessions(run, make_engine):
    async def main():
        engine = make_engine(pool_size=5, max_overflow=3)

        async def work(number):
            async with AsyncSession(engine) as session:
                await session.execute(text("select pg_sleep(0.002)"))
                return await session.scalar(text("select 0 + :n").bindparams(n=number))

        assert await asyncio.gather(*map(work, range(60))) == list(range(60))
        await engine.dispose()

    run(main)


def test_streamed_rows(run, make_engine):
    async def main():
        engine = make_engine()
        async with engine.connect() as connection:
            result = await connection.stream(
                text("select n from generate_series(1, 5000) n")
            )
            assert [row.n async for row in result] == list(range(1, 5001))
        await engine.dispose()

    run(main)


def test_cancelled(run, make_engine):
    async def main():
        engine = make_engine(pool_size=1, max_overflow=0)

        async def sleep():
            async with engine.connect() as connection:
                await connection.execute(text("select pg_sleep(30)"))

        task = asyncio.ensure_future(sleep())
        await asyncio.sleep(0.2)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with engine.connect() as connection:
            assert (await connection.execute(text("select 1"))).scalar() == 1
        await engine.dispose()

    run(main)
